"""What arrived."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db import connections, models
from django.db.models import F, Func, Q
from django.utils import timezone

from ingestion.models.sources import post_source_choices
from ingestion.models.streams import Stream

Rows = TypeVar("Rows", bound=models.QuerySet[Any])


class Words(Func):
    """A post's words, as the index of the migration `post_search` has them: of the first 10,000
    characters, so that no post is too long for it; in no one language, as posts come in all."""

    template = "to_tsvector('simple'::regconfig, left(%(expressions)s, 10000))"
    output_field = SearchVectorField()


def holding(rows: Rows, words: str, path: str = "") -> Rows:
    """Rows whose post has all of these words (`PostQuerySet.matching`); `path` leads to the post,
    as `post__`."""
    if connections[rows.db].vendor == "postgresql":
        query = SearchQuery(words, config="simple", search_type="plain")
        return rows.alias(words=Words(f"{path}text")).filter(words=query)
    has_all = Q()
    for word in words.split():
        has_all &= Q(**{f"{path}text__icontains": word})
    return rows.filter(has_all)


class PostQuerySet(models.QuerySet["Post"]):
    def visible(self) -> PostQuerySet:
        """Posts that their source still shows, earlier versions of edited ones too."""
        return self.filter(deleted_at__isnull=True)

    def newest_edits(self) -> PostQuerySet:
        """Posts that no later edit has replaced."""
        return self.filter(is_superseded=False)

    def current(self) -> PostQuerySet:
        """What counts: visible, and of each post the newest version."""
        return self.visible().newest_edits()

    def edits_of(self, source: str, original_ids: Iterable[str]) -> PostQuerySet:
        """Later versions of these posts, whether or not the first one is here."""
        # The exclusion repeats the partial index's own condition, so that it is used.
        return self.filter(source=source, original_id__in=original_ids).exclude(original_id="")

    def delivered_since(self, moment: datetime) -> PostQuerySet:
        """What came from its source since then; imported posts of X look as if checked before."""
        return self.filter(received_at__gte=moment, checked_at__gte=moment)

    def matching(self, words: str) -> PostQuerySet:
        """Posts with all of these words, in any order and case; on SQLite parts of words count."""
        return holding(self, words)

    def since(self, moment: datetime) -> PostQuerySet:
        return self.filter(created_at__gte=moment)

    def before(self, moment: datetime) -> PostQuerySet:
        return self.filter(created_at__lt=moment)


class Post(models.Model):
    """One post as its source delivered it. `source` and `external_id` identify it."""

    source = models.CharField(max_length=16, choices=post_source_choices)
    external_id = models.CharField(max_length=255)
    text = models.TextField()
    lang = models.CharField(max_length=16, blank=True)
    author_id = models.CharField(max_length=255, blank=True)
    author_username = models.CharField(max_length=255, blank=True)
    author_name = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(help_text="When the author posted it.")
    received_at = models.DateTimeField(default=timezone.now, help_text="When it reached us.")
    conversation_id = models.CharField(max_length=255, blank=True)
    original_id = models.CharField(
        max_length=255, blank=True, help_text="Of an edit: the external id of the first version."
    )
    edited_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="edits"
    )
    is_superseded = models.BooleanField(default=False, help_text="A later edit has replaced it.")
    references = models.JSONField(
        default=list, blank=True, help_text="Posts it answers, quotes or reposts: type and id."
    )
    deleted_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(
        default=timezone.now, help_text="When its source last showed it to us."
    )
    metrics = models.JSONField(default=dict, blank=True, help_text="Likes, reposts, replies, …")
    raw = models.JSONField(null=True, blank=True, help_text="Kept when STORE_RAW_POSTS is on.")
    streams = models.ManyToManyField(Stream, related_name="posts", blank=True)

    objects = PostQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["source", "external_id"], name="post_unique_at_source"),
            models.CheckConstraint(
                condition=~Q(text="") | Q(deleted_at__isnull=False), name="post_has_text"
            ),
            models.CheckConstraint(
                condition=Q(edited_from__isnull=True) | ~Q(edited_from=F("id")),
                name="post_not_an_edit_of_itself",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="post_newest"),
            models.Index(fields=["-received_at"], name="post_received"),
            models.Index(fields=["source", "-created_at"], name="post_source_newest"),
            models.Index(fields=["lang", "-created_at"], name="post_lang_newest"),
            models.Index(
                fields=["source", "author_id"],
                condition=~Q(author_id=""),
                name="post_author",
            ),
            models.Index(
                fields=["source", "original_id"],
                condition=~Q(original_id=""),
                name="post_edits",
            ),
            models.Index(
                fields=["conversation_id"], condition=~Q(conversation_id=""), name="post_thread"
            ),
            # X alone announces no deletions on its stream: we ask, the longest unasked first.
            models.Index(
                fields=["checked_at"],
                condition=Q(source="x", deleted_at__isnull=True),
                name="post_unchecked",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.external_id}"
