"""What people follow (`Stream`), what arrived (`Post`), and how the sources are doing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Source(models.TextChoices):
    """Where posts come from."""

    X = "x", "X"
    BLUESKY = "bluesky", "Bluesky"
    MASTODON = "mastodon", "Mastodon"
    FILE = "file", "File"


class StreamQuerySet(models.QuerySet["Stream"]):
    def active(self) -> StreamQuerySet:
        return self.filter(is_active=True)

    def of_source(self, source: str) -> StreamQuerySet:
        return self.filter(source=source)


class Stream(models.Model):
    """Something that people follow: on X, one rule of the one connection."""

    name = models.CharField(max_length=100, unique=True)
    source = models.CharField(max_length=16, choices=Source.choices, default=Source.X)
    query = models.CharField(
        max_length=1024, blank=True, help_text="The source's own query language; on X, a rule."
    )
    languages = models.JSONField(
        default=list, blank=True, help_text='Language codes to keep, as ["en"]; empty keeps all.'
    )
    is_active = models.BooleanField(default=True)
    rule_id = models.CharField(max_length=32, blank=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = StreamQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(source=Source.X) | ~Q(query=""),
                name="stream_x_needs_query",
                violation_error_message="A stream of X needs a query.",
            ),
            models.UniqueConstraint(
                fields=["query"],
                condition=Q(source=Source.X, is_active=True),
                name="stream_one_active_rule_a_query",
                violation_error_message="Another active stream has this query already.",
            ),
        ]
        indexes = [models.Index(fields=["source", "is_active"], name="stream_source_active")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        valid = isinstance(self.languages, list) and all(
            isinstance(code, str) and 2 <= len(code) <= 8 for code in self.languages
        )
        if not valid:
            raise ValidationError({"languages": 'Give a list of language codes, as ["en", "de"].'})


class PostQuerySet(models.QuerySet["Post"]):
    def visible(self) -> PostQuerySet:
        """Posts that their source still shows."""
        return self.filter(deleted_at__isnull=True)

    def newest_edits(self) -> PostQuerySet:
        """Posts that no later edit has replaced."""
        return self.filter(edits__isnull=True)

    def edits_of(self, source: str, original_ids: Iterable[str]) -> PostQuerySet:
        """Later versions of these posts, whether or not the first one is here."""
        # The exclusion repeats the partial index's own condition, so that it is used.
        return self.filter(source=source, original_id__in=original_ids).exclude(original_id="")

    def since(self, moment: datetime) -> PostQuerySet:
        return self.filter(created_at__gte=moment)

    def before(self, moment: datetime) -> PostQuerySet:
        return self.filter(created_at__lt=moment)


class Post(models.Model):
    """One post as its source delivered it. `source` and `external_id` identify it."""

    source = models.CharField(max_length=16, choices=Source.choices)
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
    deleted_at = models.DateTimeField(null=True, blank=True)
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
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.external_id}"


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def free(self, now: datetime) -> ConnectionQuerySet:
        """Connections that nobody holds, or whose holder has let its lease expire."""
        return self.filter(Q(lease_owner="") | Q(lease_expires_at__lt=now))


class Connection(models.Model):
    """The one connection to a source: who holds it, how it fares, where to go on."""

    class Status(models.TextChoices):
        DISCONNECTED = "disconnected", "disconnected"
        CONNECTING = "connecting", "connecting"
        CONNECTED = "connected", "connected"
        WAITING = "waiting", "waiting to reconnect"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed: needs attention"

    source = models.CharField(max_length=16, choices=Source.choices, unique=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DISCONNECTED)
    lease_owner = models.CharField(max_length=128, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cursor = models.CharField(max_length=255, blank=True)
    connected_at = models.DateTimeField(null=True, blank=True)
    last_event_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    received = models.PositiveBigIntegerField(default=0)
    saved = models.PositiveBigIntegerField(default=0)
    duplicates = models.PositiveBigIntegerField(default=0)
    malformed = models.PositiveBigIntegerField(default=0)
    reconnects = models.PositiveBigIntegerField(default=0)
    last_error = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        ordering = ["source"]
        constraints = [
            models.CheckConstraint(
                condition=Q(lease_owner="") | Q(lease_expires_at__isnull=False),
                name="connection_lease_expires",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_source_display()}: {self.get_status_display()}"

    def lag(self, now: datetime) -> timedelta | None:
        """Time since the source last said anything; None before the first event."""
        return None if self.last_event_at is None else now - self.last_event_at


class MonthlyUsage(models.Model):
    """Posts read from a paid source in one billing month, against a budget."""

    source = models.CharField(max_length=16, choices=Source.choices)
    month = models.DateField(help_text="The first day of the month, UTC.")
    stream = models.ForeignKey(
        Stream,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="usage",
        help_text="Empty for the whole source.",
    )
    posts_read = models.PositiveBigIntegerField(default=0)
    budget = models.PositiveBigIntegerField(default=0, help_text="0 means no budget.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-month", "source"]
        verbose_name_plural = "monthly usage"
        constraints = [
            models.UniqueConstraint(
                fields=["source", "month", "stream"], name="usage_once_a_month_and_stream"
            ),
            # NULLs are distinct to the constraint above.
            models.UniqueConstraint(
                fields=["source", "month"],
                condition=Q(stream__isnull=True),
                name="usage_once_a_month_and_source",
            ),
            models.CheckConstraint(condition=Q(month__day=1), name="usage_month_begins_on_the_1st"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.month:%Y-%m}: {self.posts_read}"
