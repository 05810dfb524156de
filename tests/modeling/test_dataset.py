"""What a training learns from and is judged on."""

from collections import Counter
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from ingestion.models import Post
from ingestion.services import forget, store
from modeling import starter
from modeling.exceptions import NotEnoughData
from modeling.models import Annotation, LabelScheme, TrainingRun
from modeling.services import dataset, teach
from modeling.services.annotate import annotate_many
from modeling.services.dataset import Dataset, gather
from modeling.services.label_files import LabelledRow
from tests.ingestion.factories import incoming

pytestmark = pytest.mark.django_db

HUMAN = Annotation.Origin.HUMAN


def label_of(data: Dataset, text: str) -> str | None:
    """The label that a text has in the dataset, whichever set it is in."""
    for part in (data.train, data.validation, data.test):
        if text in part.texts:
            return data.labels[part.labels[list(part.texts).index(text)]]
    return None


def size(data: Dataset) -> int:
    return len(data.train) + len(data.validation) + len(data.test)


def post(text: str, number: int = 0) -> Post:
    return Post.objects.create(
        source="x", external_id=f"d{number}", text=text, created_at=timezone.now()
    )


def test_a_fresh_installation_learns_from_the_starter_corpus(scheme: LabelScheme) -> None:
    data = gather(scheme)
    assert data.labels == ("negative", "neutral", "positive")
    assert size(data) == len({dataset.text.digest(p.text) for p in starter.labelled()})
    share = len(data.test) / size(data)
    assert 0.07 < share < 0.13


def test_every_set_has_every_category_and_none_shares_a_text(scheme: LabelScheme) -> None:
    data = gather(scheme)
    for part in (data.train, data.validation, data.test):
        assert min(dataset.counts(part, data.labels).values()) > 10
    sets = [set(part.texts) for part in (data.train, data.validation, data.test)]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


def test_the_same_data_has_the_same_digest_whatever_the_order_of_rows(
    labelled: LabelScheme,
) -> None:
    before = gather(labelled)
    rows = list(Annotation.objects.filter(scheme=labelled).order_by("-pk"))
    Annotation.objects.filter(scheme=labelled).delete()
    for row in rows:
        row.pk = None
    Annotation.objects.bulk_create(rows)
    after = gather(labelled)
    assert (after.digest, after.train) == (before.digest, before.train)


def test_a_label_changed_is_another_digest(labelled: LabelScheme) -> None:
    before = gather(labelled)
    first = Annotation.objects.filter(scheme=labelled, category__key="positive").first()
    assert first is not None
    annotate_many(labelled, {first.post_id: "negative"})
    after = gather(labelled)
    assert after.digest != before.digest and size(after) == size(before)


def test_an_annotation_overrules_the_starter_corpus(scheme: LabelScheme) -> None:
    written = next(p for p in starter.labelled() if p.label == "positive")
    annotate_many(scheme, {post(written.text).pk: "negative"})
    data = gather(scheme)
    assert label_of(data, written.text) == "negative"
    assert size(data) == len({dataset.text.digest(p.text) for p in starter.labelled()})


def test_a_deleted_post_teaches_nothing_more(labelled: LabelScheme) -> None:
    before = gather(labelled)
    gone = Post.objects.filter(annotations__scheme=labelled).first()
    assert gone is not None
    text = gone.text
    Post.objects.filter(pk=gone.pk).update(deleted_at=timezone.now(), text="")
    after = gather(labelled)
    assert label_of(before, text) is not None
    assert label_of(after, text) is None
    assert size(after) == size(before) - 1


def test_a_replaced_judgement_does_not_vote(labelled: LabelScheme, admin_user: User) -> None:
    new = post("what a day this was")
    for key in ("negative", "positive"):
        annotate_many(labelled, {new.pk: key}, annotator=admin_user, origin=HUMAN)
    assert label_of(gather(labelled), "what a day this was") == "positive"


def test_the_majority_of_people_decides(labelled: LabelScheme) -> None:
    new = post("what a day this was")
    for name, key in (("ann", "positive"), ("bob", "negative"), ("cat", "positive")):
        annotate_many(
            labelled, {new.pk: key}, annotator=User.objects.create_user(name), origin=HUMAN
        )
    assert label_of(gather(labelled), "what a day this was") == "positive"


def test_posts_that_read_alike_count_once_and_vote_together(labelled: LabelScheme) -> None:
    texts = ("What a  day", "what a day", "what a day!", "WHAT A DAY")
    labels = ("negative", "positive", "neutral", "positive")
    posts = [post(text, number) for number, text in enumerate(texts)]
    annotate_many(labelled, {p.pk: key for p, key in zip(posts, labels, strict=True)})
    data = gather(labelled)
    found = Counter(label for text in texts if (label := label_of(data, text)))
    assert found == {"positive": 1, "neutral": 1}


def test_too_few_posts_are_refused_with_how_many_are_missing(own_scheme: LabelScheme) -> None:
    annotate_many(own_scheme, {post("a lovely day").pk: "positive"})
    with pytest.raises(NotEnoughData, match="label at least 99 more"):
        gather(own_scheme)


def test_the_starter_corpus_serves_the_default_scheme_alone(own_scheme: LabelScheme) -> None:
    with pytest.raises(NotEnoughData, match="0 labelled posts"):
        gather(own_scheme)


def test_gathering_asks_few_queries(
    labelled: LabelScheme, django_assert_max_num_queries: object
) -> None:
    # The scheme's labels, the annotations, and of each 500 test posts two: origin and streams.
    with django_assert_max_num_queries(4):  # type: ignore[operator]
        gather(labelled)


def rows(*pairs: tuple[str, str]) -> list[LabelledRow]:
    return [LabelledRow(line, *pair) for line, pair in enumerate(pairs, 1)]


def test_a_file_teaches_beside_the_annotations_which_win(labelled: LabelScheme) -> None:
    known = next(iter(gather(labelled).train.texts))
    truth = label_of(gather(labelled), known)
    wrong = "negative" if truth != "negative" else "positive"
    data = gather(
        labelled,
        rows=rows(
            (known, wrong),
            ("a day of its own", "positive"),
            ("A day of its own", "positive"),
            ("a day of doubt", "negative"),
            ("a day of doubt", "positive"),
        ),
    )
    assert label_of(data, known) == truth
    assert label_of(data, "a day of its own") == "positive"
    assert label_of(data, "a day of doubt") is None
    assert data.describe() == "181 texts (180 annotated, 1 of the file)"


def test_a_tie_of_people_leaves_a_text_out_whatever_corpus_and_file_say(
    scheme: LabelScheme,
) -> None:
    written = next(p for p in starter.labelled() if p.label == "positive")
    tied = {post(written.text, 1).pk: "", post("a day of doubt", 2).pk: ""}
    for name, key in (("ann", "positive"), ("bob", "negative")):
        person = User.objects.create_user(name)
        annotate_many(scheme, dict.fromkeys(tied, key), annotator=person, origin=HUMAN)
    data = gather(scheme, rows=rows(("A day of doubt", "positive")))
    assert label_of(data, written.text) is None
    assert {label_of(data, text) for text in ("a day of doubt", "A day of doubt")} == {None}
    assert not set(tied) & set(data.posts)


def test_a_tie_within_a_file_leaves_the_corpus_own_text_out(scheme: LabelScheme) -> None:
    written = next(p for p in starter.labelled() if p.label == "positive")
    data = gather(scheme, rows=rows((written.text, "positive"), (written.text, "negative")))
    assert label_of(data, written.text) is None


def test_a_file_teaches_nothing_of_posts_that_are_deleted_here(labelled: LabelScheme) -> None:
    stays, own, goes = post("it stays", 1), post("its own", 2), post("it goes", 3)
    # As `import_labels` saves a row without an id.
    unnamed = f"text:{dataset.text.digest('gone too')}"
    store([incoming(source="file", external_id=unnamed, text="gone too")])
    forget("x", [goes.external_id])
    forget("file", [unnamed])
    annotate_many(labelled, {own.pk: "neutral"})
    data = gather(
        labelled,
        rows=[
            LabelledRow(2, "it stays", "positive", "x", stays.external_id),
            LabelledRow(3, "its own", "positive", "x", own.external_id),
            LabelledRow(4, "it goes", "positive", "x", goes.external_id),
            LabelledRow(5, "gone too", "positive"),
            LabelledRow(6, "known to nobody", "positive", "x", "d\x009"),
        ],
    )
    assert (label_of(data, "it goes"), label_of(data, "gone too")) == (None, None)
    assert label_of(data, "it stays") == label_of(data, "known to nobody") == "positive"
    assert label_of(data, "its own") == "neutral"
    # So that a version counts them once they are deleted.
    assert data.posts.keys() >= {stays.pk, own.pk} and goes.pk not in data.posts
    assert data.describe() == (
        "183 texts (181 annotated, 2 of the file); "
        "rows of the file left out, as their posts are deleted: 2"
    )


def test_ids_of_a_file_that_are_other_posts_here_withdraw_and_link_nothing(
    labelled: LabelScheme,
) -> None:
    store([incoming(source="file", external_id=key, text=f"here {key}") for key in "12"])
    forget("file", ["1"])
    data = gather(
        labelled,
        rows=[
            LabelledRow(2, "innocent", "positive", external_id="1"),
            LabelledRow(3, "of another file", "positive", external_id="2"),
            LabelledRow(4, "here 2", "positive", external_id="2"),
        ],
    )
    assert label_of(data, "innocent") == label_of(data, "of another file") == "positive"
    assert data.withdrawn == 0
    kept = Post.objects.get(source="file", external_id="2")
    assert data.posts[kept.pk] == dataset.split_name(dataset.text.digest("here 2"))


def test_a_review_in_a_file_of_our_own_overrules_its_other_rows(labelled: LabelScheme) -> None:
    rows_of_one = [
        LabelledRow(2, "one of ours", "positive", "x", "n1", "human"),
        LabelledRow(3, "one of ours", "positive", "x", "n1", "human"),
        LabelledRow(4, "one of ours", "negative", "x", "n1", "review"),
    ]
    assert label_of(gather(labelled, rows=rows_of_one), "one of ours") == "negative"


def test_a_post_of_two_texts_counts_as_learned_from_where_one_of_them_is(
    labelled: LabelScheme,
) -> None:
    texts = [f"number {number}" for number in range(60)]
    by_split = {dataset.split_name(dataset.text.digest(text)): text for text in texts}
    for first, second in (("train", "test"), ("test", "train")):
        known = post(by_split[first], len(first))
        annotate_many(labelled, {known.pk: "neutral"})
        row = LabelledRow(2, by_split[second], "neutral", "x", known.external_id)
        assert gather(labelled, rows=[row]).posts[known.pk] == "train"
        known.delete()


def test_a_file_s_posts_are_looked_up_in_few_queries(
    labelled: LabelScheme, django_assert_max_num_queries: object
) -> None:
    named = [LabelledRow(n, f"text {n}", "neutral", "x", str(n)) for n in range(600)]
    # Two more for 600 posts of one source.
    with django_assert_max_num_queries(6):  # type: ignore[operator]
        gather(labelled, rows=named)


def test_a_category_that_the_split_leaves_out_of_a_set_is_named_with_its_numbers(
    labelled: LabelScheme,
) -> None:
    held = gather(labelled).validation.texts
    neutral = Annotation.objects.filter(scheme=labelled, category__key="neutral")
    in_validation = neutral.filter(post__text__in=held)
    for annotation in in_validation[1:]:
        annotation.delete()
    with pytest.raises(NotEnoughData) as raised:
        gather(labelled)
    said = str(raised.value)
    assert (
        "neutral has 50 in train, 1 in validation, 8 in test. Label more posts of neutral" in said
    )
    assert "negative" not in said and "at least 2 in train, 2 in validation, 1 in test" in said


@pytest.mark.parametrize(("name", "least"), [("train", 2), ("validation", 2), ("test", 1)])
def test_each_set_needs_so_many_of_a_category(name: str, least: int) -> None:
    def made(missing: int) -> dict[str, dataset._Entry]:
        """So many of each set, but of one set's neutral fewer than it takes."""
        by_set = {"test": "00000000", "validation": "0000000a", "train": "00000032"}
        return {
            f"{by_set[part]}{label}{number}": dataset._Entry("", label)
            for part, count in dataset.MINIMUM_A_SET.items()
            for label in ("negative", "neutral")
            for number in range(count - (missing if (part, label) == (name, "neutral") else 0))
        }

    dataset._check_sets(made(0), ("negative", "neutral"))
    with pytest.raises(NotEnoughData, match=f"neutral has .*{least - 1} in {name}"):
        dataset._check_sets(made(1), ("negative", "neutral"))


def test_labels_as_they_were_at_a_moment(labelled: LabelScheme) -> None:
    before, moment = gather(labelled), timezone.now()
    changed = Annotation.objects.filter(scheme=labelled, category__key="positive").first()
    assert changed is not None
    annotate_many(labelled, {changed.post_id: "negative", post("a new one").pk: "neutral"})
    assert gather(labelled, as_of=moment).digest == before.digest
    assert gather(labelled).digest != before.digest
    # What is deleted since is gone from the past too.
    Post.objects.filter(pk=changed.post_id).update(deleted_at=timezone.now(), text="")
    assert size(gather(labelled, as_of=moment)) == size(before) - 1


def test_a_teacher_reads_unlabelled_posts_but_none_of_the_held_out(labelled: LabelScheme) -> None:
    for number in range(40):
        post(f"nobody has labelled number {number}", number)
    post("Nobody has labelled number 1!", 50)
    run = TrainingRun(scheme=labelled, started_at=timezone.now())
    texts = teach.unlabelled(run, gather(labelled))
    assert 20 < len(texts) <= 40
    assert dict(Post.objects.filter(text__in=texts).values_list("text", "pk")) == texts
    assert {dataset.split_name(dataset.text.digest(text)) for text in texts} == {"train"}
    assert len(teach.unlabelled(run, gather(labelled), limit=5)) == 5
    run.started_at = timezone.now() - timedelta(days=1)
    assert teach.unlabelled(run, gather(labelled)) == {}
