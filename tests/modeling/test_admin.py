"""The admin: posts are labelled, versions promoted; lists ask few queries."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Post
from modeling.models import Annotation, LabelScheme, ModelVersion, Promotion
from modeling.services import classify
from tests.dashboard.model_rows import judged_fields
from tests.verdicts import refusal

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


@pytest.fixture
def posts(champion: ModelVersion) -> list[Post]:
    made = Post.objects.bulk_create(
        Post(source="x", external_id=f"a{i}", text=f"post {i} awful", created_at=timezone.now())
        for i in range(30)
    )
    classify.classify_posts([post.pk for post in made])
    return made


def test_a_post_is_labelled_on_its_page(
    boss: Client, posts: list[Post], scheme: LabelScheme
) -> None:
    path = reverse("admin:ingestion_post_change", args=[posts[0].pk])
    page = boss.get(path).content.decode()
    assert "Positive" in page and "post 0 awful" in page
    category = scheme.categories.get(key="positive")
    empty = {
        f"{name}-{key}": "0"
        for name in ("predictions", "annotations")
        for key in ("TOTAL_FORMS", "INITIAL_FORMS")
    }
    answer = boss.post(path, {"label": category.pk, **empty})
    assert answer.status_code == 302, answer.content
    label = Annotation.objects.current().get()
    assert (label.post, label.category, label.annotator) == (
        posts[0],
        category,
        User.objects.get(username="boss"),
    )
    checked = boss.get(path).content.decode()
    assert f'value="{category.pk}"' in checked and "checked" in checked


@pytest.mark.parametrize("model", ["ingestion_post", "modeling_prediction"])
def test_posts_are_labelled_from_a_list(boss: Client, posts: list[Post], model: str) -> None:
    rows = posts if model == "ingestion_post" else [p.predictions.get() for p in posts]
    answer = boss.post(
        reverse(f"admin:{model}_changelist"),
        {"action": "label_sentiment_neutral", "_selected_action": [r.pk for r in rows[:3]]},
        follow=True,
    )
    assert "3 posts labelled Neutral." in answer.content.decode()
    assert Annotation.objects.current().filter(category__key="neutral").count() == 3


def test_a_label_is_added_and_can_be_found(
    boss: Client, posts: list[Post], scheme: LabelScheme
) -> None:
    category = scheme.categories.get(key="negative")
    path = reverse("admin:modeling_annotation_add")
    assert boss.post(path, {"post": posts[0].pk, "category": category.pk}).status_code == 302
    assert Annotation.objects.get().annotator is not None
    listed = boss.get(reverse("admin:modeling_annotation_changelist")).content.decode()
    assert "post 0 awful" in listed


def test_a_version_is_promoted_after_a_look_at_the_verdict(
    boss: Client, champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    other = make_version(2)
    path = reverse("admin:modeling_modelversion_changelist")
    both = {"action": "promote_selected", "_selected_action": [champion.pk, other.pk]}
    assert "Select exactly one version." in boss.post(path, both, follow=True).content.decode()
    one = {"action": "promote_selected", "_selected_action": [other.pk]}
    assert "in the place of version 1" in boss.post(path, one).content.decode()
    assert ModelVersion.objects.champions().get() == champion
    yes = {**one, "confirmed": "yes", "reason": "sounder on irony"}
    assert "Version 2 is the champion now." in boss.post(path, yes, follow=True).content.decode()
    entry = Promotion.objects.get()
    assert (entry.version, entry.actor, entry.reason) == (other, "boss", "sounder on irony")


def test_overriding_the_gate_takes_a_reason(
    boss: Client, champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    check = {
        **{"name": "slices", "passed": False, "value": -0.2, "threshold": -0.05},
        "sentence": "<b>emoji</b> falls",
    }
    gate = {**refusal(champion.scheme, "emoji falls"), "checks": [check]}
    digests = {name: d for name, d in champion.artifact_digests.items() if "json" not in name}
    other = make_version(2, gate=gate, artifact_digests=digests)
    path = reverse("admin:modeling_modelversion_changelist")
    one = {"action": "promote_selected", "_selected_action": [other.pk], "confirmed": "yes"}
    page = boss.post(path, one).content.decode()
    assert "the gate refuses version 2: emoji falls" in page
    assert "✗ failed" in page and "&lt;b&gt;emoji&lt;/b&gt; falls" in page
    page = boss.post(path, {**one, "override": "on"}).content.decode()
    assert "Say why the gate is overridden." in page
    assert not Promotion.objects.exists()
    boss.post(path, {**one, "override": "on", "reason": "labels are wrong"})
    assert Promotion.objects.get().reason == "gate overridden: labels are wrong"
    shown = boss.get(reverse("admin:modeling_modelversion_change", args=[other.pk]))
    assert "✗ failed" in shown.content.decode()


def test_a_damaged_champion_is_told_and_replaced_by_override(
    boss: Client, make_version: Callable[..., ModelVersion]
) -> None:
    make_version(1, stage="champion", artifact_digests={"model.onnx": "0" * 64})
    other = make_version(2)
    path = reverse("admin:modeling_modelversion_changelist")
    one = {"action": "promote_selected", "_selected_action": [other.pk], "confirmed": "yes"}
    page = boss.post(path, one).content.decode()
    assert "files of version 1 are damaged" in page and "model.onnx is not the file" in page
    boss.post(path, {**one, "override": "on", "reason": "the disk died"})
    assert ModelVersion.objects.champions().get() == other


def test_a_viewer_sees_no_label_action_and_cannot_promote(
    client: Client, posts: list[Post], champion: ModelVersion
) -> None:
    viewer = User.objects.create_user("ann", is_staff=True)
    names = ["view_post", "view_prediction", "view_modelversion"]
    viewer.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(viewer)
    page = client.get(reverse("admin:modeling_prediction_changelist")).content.decode()
    assert "label_sentiment" not in page
    versions = client.get(reverse("admin:modeling_modelversion_changelist")).content.decode()
    assert "promote_selected" not in versions


def test_a_viewer_who_sends_the_actions_anyway_changes_nothing(
    client: Client,
    posts: list[Post],
    champion: ModelVersion,
    make_version: Callable[..., ModelVersion],
    scheme: LabelScheme,
) -> None:
    viewer = User.objects.create_user("ann", is_staff=True)
    names = ["view_post", "view_prediction", "view_modelversion", "view_annotation"]
    viewer.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(viewer)
    other = make_version(2)
    for model, action, row in (
        ("ingestion_post", "label_sentiment_neutral", posts[0].pk),
        ("modeling_modelversion", "promote_selected", other.pk),
    ):
        data = {"action": action, "_selected_action": [row], "confirmed": "yes"}
        client.post(reverse(f"admin:{model}_changelist"), data)
    category = scheme.categories.get(key="positive").pk
    page = reverse("admin:ingestion_post_change", args=[posts[0].pk])
    assert client.post(page, {"label": category}).status_code == 403
    added = client.post(
        reverse("admin:modeling_annotation_add"), {"post": posts[0].pk, "category": category}
    )
    assert added.status_code == 403
    assert not Annotation.objects.exists()
    assert ModelVersion.objects.champions().get() == champion


def test_what_the_program_writes_cannot_be_edited(boss: Client, champion: ModelVersion) -> None:
    for model in ("prediction", "modelversion", "trainingrun", "promotion", "qualityreport"):
        assert boss.get(reverse(f"admin:modeling_{model}_add")).status_code == 403
    page = boss.get(reverse("admin:modeling_modelversion_change", args=[champion.pk]))
    assert page.status_code == 200 and 'name="_save"' not in page.content.decode()


@pytest.mark.parametrize(
    "model",
    [
        "ingestion_post",
        "ingestion_stream",
        "ingestion_connection",
        "ingestion_monthlyusage",
        "modeling_prediction",
        "modeling_annotation",
        "modeling_modelversion",
        "modeling_labelscheme",
        "modeling_trainingrun",
        "modeling_promotion",
        "modeling_qualityreport",
        "modeling_experiment",
    ],
)
def test_a_list_asks_few_queries_however_long(
    boss: Client, posts: list[Post], model: str, django_assert_max_num_queries: Callable
) -> None:
    with django_assert_max_num_queries(16):
        assert boss.get(reverse(f"admin:{model}_changelist")).status_code == 200


def test_a_version_s_page_shows_tables_and_no_json(
    boss: Client, make_version: Callable[..., ModelVersion]
) -> None:
    fields = judged_fields()
    version = make_version(2, **fields)
    page = boss.get(reverse("admin:modeling_modelversion_change", args=[version.pk]))
    shown = page.content.decode()
    test = fields["metrics"]["test"]
    low, high = test["intervals"]["macro_recall"]
    assert f"{test['macro_recall']:.3f} ({low:.3f} to {high:.3f})" in shown
    assert "negation = no" in shown and "180 posts; mean confidence 0.800" in shown
    assert f"<td>{version.artifact_digests['sentiment.json']}</td>" in shown
    assert "per_class" not in shown and "&quot;" not in shown and "&#x27;: " not in shown
