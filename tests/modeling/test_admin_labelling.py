"""Labelling in the admin: filters, one click in the list, files in and out."""

import gzip
import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Post
from modeling.models import Annotation, LabelScheme, ModelVersion, Prediction
from modeling.selectors import Labelling, posts_by_labelling
from modeling.services.annotate import annotate, annotate_many

pytestmark = pytest.mark.django_db

LIST = reverse("admin:ingestion_post_changelist")
IMPORT = reverse("admin:modeling_annotation_import")


@pytest.fixture
def boss(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


def a_post(number: int, **fields: object) -> Post:
    values = {"source": "x", "external_id": f"a{number}", "text": f"post {number}"}
    return Post.objects.create(**{**values, "created_at": timezone.now(), **fields})


def judge(post: Post, version: ModelVersion, key: str, confidence: float) -> Prediction:
    return Prediction.objects.create(
        post=post,
        scheme=version.scheme,
        model_version=version,
        category=version.scheme.categories.get(key=key),
        confidence=confidence,
        scores={},
    )


def test_posts_are_found_by_how_they_stand(
    scheme: LabelScheme, champion: ModelVersion, admin_user: User
) -> None:
    ann = User.objects.create_user("ann")
    sure, unsure, agreed, disputed, settled, denied, gone = (a_post(n) for n in range(7))
    judge(sure, champion, "positive", 0.9)
    judge(unsure, champion, "positive", 0.5)
    judge(denied, champion, "positive", 0.5)
    judge(agreed, champion, "negative", 0.5)
    negative, positive = (scheme.categories.get(key=key) for key in ("negative", "positive"))
    for post in (agreed, disputed, settled, denied):
        annotate(post, negative, annotator=ann)
    annotate(agreed, negative, annotator=admin_user)
    annotate(disputed, positive, annotator=admin_user)
    annotate(settled, positive, annotator=admin_user)
    annotate_many(
        scheme,
        {settled.pk: "positive"},
        annotator=User.objects.create_user("judge"),
        origin=Annotation.Origin.REVIEW,
    )
    Post.objects.filter(pk=gone.pk).update(deleted_at=timezone.now())

    def found(standing: Labelling) -> set[Post]:
        return set(posts_by_labelling(Post.objects.all(), scheme, standing))

    assert found(Labelling.UNLABELLED) == {sure, unsure}
    assert found(Labelling.UNCERTAIN) == {unsure}
    assert found(Labelling.DISAGREEMENT) == {disputed}
    assert found(Labelling.CONTRADICTED) == {denied}


def test_the_list_is_filtered_and_shows_who_says_what(
    boss: Client, scheme: LabelScheme, champion: ModelVersion
) -> None:
    post, other = a_post(1), a_post(2)
    judge(post, champion, "positive", 0.51)
    annotate_many(scheme, {other.pk: "negative"})
    page = boss.get(LIST, {"labelling": "uncertain"}).content.decode()
    assert "post 1" in page and "post 2" not in page
    assert "51%" in page and f'value="{post.pk}:' in page
    page = boss.get(LIST, {"labelling": "nonsense"}).content.decode()
    assert "post 1" in page and "post 2" in page


def test_one_click_labels_and_stays_in_the_list(
    boss: Client, scheme: LabelScheme, champion: ModelVersion, admin_user: User
) -> None:
    post = a_post(1)
    neutral = scheme.categories.get(key="neutral")
    where = f"{LIST}?labelling=unlabelled&q=post"
    answer = boss.post(where, {"label": f"{post.pk}:{neutral.pk}", "action": ""})
    assert (answer.status_code, answer["Location"]) == (302, where)
    label = Annotation.objects.current().get()
    assert (label.post, label.category, label.annotator) == (post, neutral, admin_user)
    page = boss.get(LIST).content.decode()
    assert f'value="{post.pk}:{neutral.pk}" aria-pressed="true"' in page
    assert page.count('aria-pressed="true"') == 1


@pytest.mark.parametrize("label", ["", "1", "x:y", "1:2:3", "-1:2"])
def test_a_click_that_makes_no_sense_changes_nothing(boss: Client, label: str) -> None:
    assert boss.post(LIST, {"label": label}).status_code == 400
    assert not Annotation.objects.exists()


@pytest.mark.parametrize("fields", [{"deleted_at": timezone.now(), "text": ""}, {}])
def test_what_is_gone_is_told(boss: Client, scheme: LabelScheme, fields: dict[str, object]) -> None:
    post = a_post(1, **fields)
    category = 2**70 if not fields else scheme.categories.first().pk  # type: ignore[union-attr]
    answer = boss.post(LIST, {"label": f"{post.pk}:{category}"}, follow=True)
    assert "is gone" in answer.content.decode()
    assert not Annotation.objects.exists()


def test_a_viewer_sees_no_buttons_and_cannot_click(
    client: Client, scheme: LabelScheme, champion: ModelVersion
) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_post", "view_annotation"])
    )
    client.force_login(viewer)
    post = a_post(1)
    page = client.get(LIST).content.decode()
    assert "post 1" in page and "label-choice" not in page
    category = scheme.categories.get(key="neutral")
    assert client.post(LIST, {"label": f"{post.pk}:{category.pk}"}).status_code == 403
    assert client.get(IMPORT).status_code == 403
    assert client.get(reverse("admin:modeling_annotation_export", args=["csv"])).status_code == 200


def test_a_long_list_asks_few_queries(
    boss: Client,
    scheme: LabelScheme,
    champion: ModelVersion,
    django_assert_max_num_queries: Callable,
) -> None:
    for number in range(20):
        judge(a_post(number), champion, "positive", 0.5)
    with django_assert_max_num_queries(16):
        assert boss.get(LIST, {"labelling": "uncertain"}).status_code == 200


def upload(boss: Client, name: str, content: bytes, **fields: object) -> str:
    data = {
        "file": SimpleUploadedFile(name, content),
        "scheme": LabelScheme.objects.get(key="sentiment").pk,
        "text_column": "text",
        "label_column": "label",
        **fields,
    }
    return boss.post(IMPORT, data, follow=True).content.decode()


def test_a_file_is_imported_once(boss: Client, scheme: LabelScheme) -> None:
    content = b'text,label\n"so, so good",positive\nawful,negative\n'
    assert "2 rows: 2 posts saved, 2 labels changed." in upload(boss, "a.csv", content)
    again = upload(boss, "a.csv.gz", gzip.compress(content))
    assert "2 rows: 0 posts saved, 0 labels changed." in again
    assert Annotation.objects.current().filter(origin="import").count() == 2


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"text,label\nawful,angry\n", "a.csv, line 2: &#x27;angry&#x27; is not a label"),
        ("a.csv", b"words,label\nawful,negative\n", "a.csv, line 2: no column text"),
        ("a.csv", b"\xff\xfe", "a.csv is not UTF-8"),
        ("a.csv.gz", b"no gzip", "a.csv.gz cannot be read"),
        ("a.csv.gz", gzip.compress(bytes(101 << 20)), "unpacks to over 100 MB"),
        ("A.CSV.GZ", gzip.compress(bytes(101 << 20)), "unpacks to over 100 MB"),
        ("a.xlsx", b"PK", "The name must end in"),
        ("a.csv", b"", "The submitted file is empty."),
        ("a.csv", b"x" * (10 * 1024 * 1024 + 1), "import_labels FILE"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_says_why(
    boss: Client, scheme: LabelScheme, name: str, content: bytes, complaint: str
) -> None:
    page = upload(boss, name, content)
    assert complaint in page
    assert "/tmp" not in page
    assert not Annotation.objects.exists() and not Post.objects.exists()


def read(boss: Client, kind: str) -> str:
    answer = boss.get(reverse("admin:modeling_annotation_export", args=[kind]))
    assert answer["Content-Disposition"] == f'attachment; filename="labels-sentiment.{kind}"'
    return b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]


def test_labels_are_exported_and_can_be_imported_again(boss: Client, scheme: LabelScheme) -> None:
    post = a_post(1, text="=1+1 says it all")
    annotate_many(scheme, {post.pk: "negative"})
    row = json.loads(read(boss, "jsonl"))
    assert (row["text"], row["label"], row["id"]) == ("=1+1 says it all", "negative", "a1")
    lines = read(boss, "csv").splitlines()
    assert lines[0] == "source,id,text,label,annotator,origin,created_at"
    # No cell that a spreadsheet would run.
    assert lines[1].startswith("x,a1,'=1+1 says it all,negative,")
    files = {"back.jsonl": json.dumps(row), "back.CSV": "\n".join(lines)}
    for name, content in files.items():
        Annotation.objects.all().delete()
        told = upload(boss, name, content.encode())
        assert "1 rows: 0 posts saved, 1 labels changed." in told
    # In another installation it is the same text.
    Annotation.objects.all().delete()
    Post.objects.all().delete()
    upload(boss, "back.csv", "\n".join(lines).encode())
    assert Post.objects.get().text == "=1+1 says it all"
    assert boss.get(reverse("admin:modeling_annotation_export", args=["xml"])).status_code == 404
