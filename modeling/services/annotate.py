"""Labelling: a person's or a file's judgement of a post."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from ingestion.models import Post
from modeling.exceptions import ModelingError
from modeling.models import Annotation, AnnotationQuerySet, Assignment, Category, LabelScheme

# Who has thought longer than this was away from the desk.
LONGEST_SECONDS = 3600.0
LONGEST_NOTE = 200
# A skipped seat may be another's by now: who comes back to the post sits beside it.
_SEAT = models.Case(
    models.When(status=Assignment.Status.SKIPPED, then=models.Value(None)),
    default=models.F("seat"),
)


class UnknownCategory(ModelingError):
    """A label that the scheme does not have."""


@transaction.atomic
def annotate(
    post: Post,
    category: Category,
    *,
    annotator: User | None = None,
    origin: str = Annotation.Origin.HUMAN,
    seconds: float | None = None,
) -> Annotation:
    """Record that `annotator` judges `post` as `category`; an earlier judgement becomes history.

    Judging the same again changes nothing and returns the annotation in force. Where the post was
    handed to them, that is answered; `seconds` tells how long they thought. Without an annotator
    it is what a file says (`origin` import): what people said who are gone stays.
    """
    now = timezone.now()
    # Locks the post, so that two clicks at once do not both find nothing to replace.
    Post.objects.select_for_update().only("pk").get(pk=post.pk)
    current = _of(annotator, origin).current().filter(post=post, scheme=category.scheme_id)
    if annotator is not None:
        mine = _assignments(post, category.scheme_id, annotator)
        mine.exclude(status=Assignment.Status.DONE).update(
            seat=_SEAT, **_answer(Assignment.Status.DONE, seconds)
        )
    standing = current.first()
    # What a person has said already still settles the post when they review it.
    is_new = standing is None or origin not in {standing.origin, Annotation.Origin.HUMAN}
    if standing is not None and standing.category_id == category.pk and not is_new:
        return standing
    current.update(replaced_at=now)
    return Annotation.objects.create(
        post=post,
        scheme_id=category.scheme_id,
        category=category,
        annotator=annotator,
        origin=origin,
        created_at=now,
    )


@transaction.atomic
def undo(
    post: Post,
    category: Category,
    *,
    annotator: User,
    origin: str = Annotation.Origin.HUMAN,
) -> bool:
    """Take back that `annotator` judges `post` as `category`; False when that is not in force.

    What it replaced is in force again, as a new row: history says what stood at any moment. The
    post is theirs to answer again. Safe to repeat: a review that says what its person had said
    before is told from that by its `origin`.
    """
    Post.objects.select_for_update().only("pk").get(pk=post.pk)
    mine = Annotation.objects.filter(post=post, scheme=category.scheme_id, annotator=annotator)
    standing = mine.current().filter(category=category, origin=origin).first()
    if standing is None:
        return False
    before = mine.filter(replaced_at=standing.created_at).exclude(pk=standing.pk).first()
    now = timezone.now()
    mine.filter(pk=standing.pk).update(replaced_at=now)
    if before is None:
        _reopen(post, category.scheme_id, annotator, Assignment.Status.DONE)
        return True
    Annotation.objects.create(
        post=post,
        scheme_id=category.scheme_id,
        category_id=before.category_id,
        annotator=annotator,
        origin=before.origin,
        # Not at the same moment: undoing once more takes this one back, and brings nothing back.
        created_at=now + timedelta(microseconds=1),
    )
    return True


@transaction.atomic
def undo_many(category: Category, post_ids: Iterable[int], *, annotator: User) -> int:
    """Take back that `annotator` judges these posts as `category`; how many labels that were.

    For what was labelled at once, where no label was replaced; a review that came since stays.
    """
    return (
        Annotation.objects.current()
        .filter(
            post__in=list(post_ids),
            category=category,
            annotator=annotator,
            origin=Annotation.Origin.HUMAN,
        )
        .update(replaced_at=timezone.now())
    )


def skip(post: Post, scheme: LabelScheme, *, annotator: User, seconds: float | None = None) -> None:
    """`annotator` does not judge this post: it is offered to others, and not to them again."""
    _set_aside(post, scheme, annotator, _answer(Assignment.Status.SKIPPED, seconds))


@transaction.atomic
def flag(
    post: Post,
    scheme: LabelScheme,
    *,
    annotator: User,
    seconds: float | None = None,
    note: str = "",
) -> None:
    """Something is wrong with this post: it is listed for review, and offered to nobody.

    `note` says what, on one line; it is cut where it is too long to keep.
    """
    # A deletion comes wholly before this, or finds the note.
    still = Post.objects.visible().select_for_update().only("pk").filter(pk=post.pk).first()
    said = " ".join(note.replace("\x00", "").split())[:LONGEST_NOTE] if still else ""
    answer = {**_answer(Assignment.Status.FLAGGED, seconds), "note": said}
    _set_aside(post, scheme, annotator, answer)


@transaction.atomic
def take_up(post: Post, scheme: LabelScheme, *, annotator: User) -> bool:
    """Take back a skip or a flag; False when there is none. Safe to repeat."""
    aside = (Assignment.Status.SKIPPED, Assignment.Status.FLAGGED)
    return any(_reopen(post, scheme.pk, annotator, status) for status in aside)


def unflag(post: Post, scheme: LabelScheme) -> int:
    """Settle a flagged post: the flags count as skips; how many there were."""
    flags = Assignment.objects.filter(post=post, scheme=scheme, status=Assignment.Status.FLAGGED)
    return flags.update(status=Assignment.Status.SKIPPED)


def forget_notes(post_ids: Sequence[int]) -> None:
    """Notes may quote what they are about: they go with posts that are deleted."""
    Assignment.objects.filter(post_id__in=post_ids).exclude(note="").update(note="")


def _set_aside(post: Post, scheme: LabelScheme, annotator: User, answer: dict[str, object]) -> None:
    if _assignments(post, scheme.pk, annotator).update(seat=_SEAT, **answer):
        return
    # Not handed out, or so long ago that it was taken back.
    now = timezone.now()
    Assignment.objects.bulk_create(
        [
            Assignment(
                post=post,
                scheme=scheme,
                annotator=annotator,
                reason=Assignment.Reason.CHOSEN,
                why="You came upon it.",
                created_at=now,
                expires_at=now,
                **answer,
            )
        ],
        ignore_conflicts=True,
    )


def _reopen(post: Post, scheme_id: int, annotator: User, status: str) -> bool:
    """Theirs to answer again; where somebody else has the seat by now, beside it."""
    assignment = _assignments(post, scheme_id, annotator).filter(status=status).first()
    if assignment is None:
        return False
    assignment.status = Assignment.Status.OPEN
    assignment.finished_at = assignment.seconds = None
    assignment.note = ""
    now = timezone.now()
    assignment.expires_at = max(assignment.expires_at, now)
    try:
        with transaction.atomic():
            assignment.save()
    except IntegrityError:
        assignment.seat = None
        assignment.save()
    return True


def _assignments(post: Post, scheme_id: int, annotator: User) -> models.QuerySet[Assignment]:
    return Assignment.objects.filter(post=post, scheme=scheme_id, annotator=annotator)


def _of(annotator: User | None, origin: str) -> AnnotationQuerySet:
    """What is replaced by what they say now. People who are gone leave rows without an annotator,
    as imports are: these are told apart by their origin."""
    theirs = Annotation.objects.filter(annotator=annotator)
    return theirs if annotator is not None else theirs.filter(origin=origin)


def _answer(status: str, seconds: float | None) -> dict[str, object]:
    return {
        "status": status,
        "seconds": None if seconds is None else min(max(seconds, 0.0), LONGEST_SECONDS),
        "finished_at": timezone.now(),
    }


@transaction.atomic
def annotate_many(
    scheme: LabelScheme,
    labels: Mapping[int, str],
    *,
    annotator: User | None = None,
    origin: str = Annotation.Origin.IMPORT,
) -> int:
    """Label many posts at once (post id → category key); return how many labels changed.

    Raises UnknownCategory before anything is written.
    """
    categories = {category.key: category for category in scheme.categories.all()}
    unknown = sorted(set(labels.values()) - set(categories))
    if unknown:
        raise UnknownCategory(
            f"{scheme.key!r} has no category {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(categories)}"
        )
    now = timezone.now()
    ids = sorted(labels)
    list(Post.objects.filter(pk__in=ids).order_by("pk").select_for_update().values_list("pk"))
    current = _of(annotator, origin).current().filter(scheme=scheme, post_id__in=ids)
    standing = dict(current.values_list("post_id", "category__key"))
    changed = [pk for pk in ids if standing.get(pk) != labels[pk]]
    current.filter(post_id__in=changed).update(replaced_at=now)
    Annotation.objects.bulk_create(
        Annotation(
            post_id=pk,
            scheme=scheme,
            category=categories[labels[pk]],
            annotator=annotator,
            origin=origin,
            created_at=now,
        )
        for pk in changed
    )
    return len(changed)


def majority(votes: Mapping[tuple[str, str], int]) -> str:
    """The label that most give, of how many there are of each origin and label; "" for a tie.

    A review overrules what it settles, and people overrule imports.
    """
    counted: Counter[str] = Counter()
    for kind in (Annotation.Origin.REVIEW, Annotation.Origin.HUMAN, Annotation.Origin.IMPORT):
        counted = Counter({label: n for (origin, label), n in votes.items() if origin == kind})
        if counted:
            break
    ranked = counted.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        return ""
    return ranked[0][0]


def labelled_rows(
    scheme: LabelScheme, *, since: datetime | None = None
) -> Iterator[dict[str, str]]:
    """Every annotation in force of a visible post, as plain rows for a file."""
    annotations = Annotation.objects.usable().filter(scheme=scheme)
    if since is not None:
        annotations = annotations.filter(created_at__gt=since)
    rows: Iterable[Sequence[object]] = (
        annotations.order_by("pk")
        .values_list(
            "post__source",
            "post__external_id",
            "post__text",
            "category__key",
            "annotator__username",
            "origin",
            "created_at",
        )
        .iterator(chunk_size=2000)
    )
    for source, external_id, text, label, annotator, origin, created_at in rows:
        yield {
            "source": str(source),
            "id": str(external_id),
            "text": str(text),
            "label": str(label),
            "annotator": str(annotator or ""),
            "origin": str(origin),
            "created_at": str(created_at),
        }
