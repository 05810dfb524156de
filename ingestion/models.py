"""What people follow (`Stream`), what arrived (`Post`), and how the sources are doing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from importlib.metadata import entry_points

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Source(models.TextChoices):
    """Where posts come from, of what this project brings; packages may add more."""

    X = "x", "X"
    BLUESKY = "bluesky", "Bluesky"
    MASTODON = "mastodon", "Mastodon"
    RSS = "rss", "RSS or Atom"
    FILE = "file", "File"


# A package names its source, and the factory that makes it, under this group.
ENTRY_POINTS = "live_sentiment.sources"


def source_choices() -> list[tuple[str, str]]:
    """Our own sources, and those that installed packages bring."""
    own = list(Source.choices)
    brought = {point.name for point in entry_points(group=ENTRY_POINTS)} - set(Source.values)
    return own + [(name, name) for name in sorted(brought)]


class StreamQuerySet(models.QuerySet["Stream"]):
    def active(self) -> StreamQuerySet:
        return self.filter(is_active=True)

    def followed(self) -> StreamQuerySet:
        """Active, not held by the spend governor, and naming something to follow.

        Streams of files that were imported once name nothing.
        """
        wanted = self.filter(is_active=True, held_at__isnull=True)
        return wanted.exclude(source=Source.FILE, query="")

    def of_source(self, source: str) -> StreamQuerySet:
        return self.filter(source=source)


class Stream(models.Model):
    """Something that people follow: on X, one rule of the one connection."""

    class OverBudget(models.TextChoices):
        PAUSE = "pause", "pause the stream"
        SAMPLE = "sample", "take a random sample"

    name = models.CharField(max_length=100, unique=True)
    source = models.CharField(max_length=16, choices=source_choices, default=Source.X)
    query = models.CharField(
        max_length=1024, blank=True, help_text="The source's own query language; on X, a rule."
    )
    languages = models.JSONField(
        default=list, blank=True, help_text='Language codes to keep, as ["en"]; empty keeps all.'
    )
    is_active = models.BooleanField(default=True)
    monthly_budget = models.PositiveBigIntegerField(
        default=0, help_text="Posts that it may read in a month from a paid source; 0: no limit."
    )
    over_budget = models.CharField(
        max_length=8,
        choices=OverBudget.choices,
        default=OverBudget.PAUSE,
        help_text="What happens to it when a budget runs out.",
    )
    held_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when the budget holds it back."
    )
    held_reason = models.CharField(max_length=255, blank=True, editable=False)
    sample_percent = models.PositiveSmallIntegerField(
        null=True, blank=True, editable=False, help_text="The share that the budget leaves it."
    )
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
            models.CheckConstraint(
                condition=Q(sample_percent__isnull=True) | Q(sample_percent__range=(1, 100)),
                name="stream_sample_percent",
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

    def since(self, moment: datetime) -> PostQuerySet:
        return self.filter(created_at__gte=moment)

    def before(self, moment: datetime) -> PostQuerySet:
        return self.filter(created_at__lt=moment)


class Post(models.Model):
    """One post as its source delivered it. `source` and `external_id` identify it."""

    source = models.CharField(max_length=16, choices=source_choices)
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
        IDLE = "idle", "idle: nothing to follow"
        WAITING = "waiting", "waiting to reconnect"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed: needs attention"

    source = models.CharField(max_length=16, choices=source_choices, unique=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DISCONNECTED)
    lease_owner = models.CharField(max_length=128, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cursor = models.TextField(blank=True, help_text="Where to go on, in the source's own words.")
    covered_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until when everything that came is stored; empty while nothing is followed.",
    )
    connected_at = models.DateTimeField(null=True, blank=True)
    last_event_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    received = models.PositiveBigIntegerField(default=0)
    saved = models.PositiveBigIntegerField(default=0)
    duplicates = models.PositiveBigIntegerField(default=0)
    malformed = models.PositiveBigIntegerField(default=0)
    reconnects = models.PositiveBigIntegerField(default=0)
    spilled_bytes = models.PositiveBigIntegerField(
        default=0, help_text="Waiting in the write-ahead file for the database."
    )
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


class GapQuerySet(models.QuerySet["Gap"]):
    def unfilled(self) -> GapQuerySet:
        """Gaps that are over, and that a search may fill."""
        return self.filter(state__in=[Gap.State.PENDING, Gap.State.FILLING])

    def between(self, start: datetime, end: datetime) -> GapQuerySet:
        """Gaps that touch this time; an open one lasts until now."""
        return self.filter(Q(ended_at__isnull=True) | Q(ended_at__gte=start), started_at__lte=end)


class Gap(models.Model):
    """One outage of a source: from when to when nothing came, why, and what was got back."""

    class State(models.TextChoices):
        OPEN = "open", "still down"
        PENDING = "pending", "to be filled"
        FILLING = "filling", "being filled"
        FILLED = "filled", "filled"
        PARTIAL = "partial", "filled in part"
        UNRECOVERABLE = "unrecoverable", "cannot be filled"
        LEFT = "left", "not filled: stopped on purpose"

    source = models.CharField(max_length=16, choices=source_choices)
    started_at = models.DateTimeField(help_text="Until here everything is stored.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Connected again.")
    cause = models.CharField(max_length=32, help_text="A short word, as in the metrics.")
    detail = models.TextField(blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.OPEN)
    filled_by = models.CharField(max_length=64, blank=True, help_text="How posts were got back.")
    recovered = models.PositiveBigIntegerField(default=0, help_text="New posts got back.")
    expected = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Posts that the hour before the gap lets expect."
    )
    after_id = models.CharField(
        max_length=255, blank=True, help_text="The last post seen before the gap."
    )
    progress = models.TextField(blank=True, help_text="Where an interrupted fill goes on.")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = GapQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["source"], condition=Q(state="open"), name="gap_one_open_a_source"
            ),
            models.CheckConstraint(
                condition=Q(state="open") | Q(ended_at__isnull=False), name="gap_closed_has_end"
            ),
        ]
        indexes = [
            models.Index(fields=["source", "-started_at"], name="gap_source_newest"),
            models.Index(fields=["state"], name="gap_state"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.started_at:%Y-%m-%d %H:%M:%S}: {self.get_state_display()}"

    @property
    def completeness(self) -> float | None:
        """The share of the gap's posts that is stored, 0 to 1; None when nobody can say."""
        if self.state == Gap.State.FILLED:
            return 1.0
        if self.expected is None:
            return None
        return min(1.0, self.recovered / self.expected) if self.expected else 1.0


class DeadLetter(models.Model):
    """A message that could not be understood: its beginning, and why."""

    source = models.CharField(max_length=16, choices=source_choices)
    received_at = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500)
    excerpt = models.BinaryField(help_text="The first 2 KiB, as they came.")
    size = models.PositiveIntegerField(help_text="Bytes of the whole message.")
    replayed_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=500, blank=True, help_text="What replaying it gave.")

    class Meta:
        ordering = ["-received_at", "-id"]
        indexes = [models.Index(fields=["source", "-id"], name="dead_letter_newest")]

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"

    @property
    def is_whole(self) -> bool:
        """Whether the excerpt is the message, so that it can be replayed."""
        return len(self.excerpt) == self.size


class DailyUsage(models.Model):
    """Posts read from a source on one day (UTC), of one stream or in all."""

    source = models.CharField(max_length=16, choices=source_choices)
    day = models.DateField()
    stream = models.ForeignKey(
        Stream,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="daily_usage",
        help_text="Empty for the whole source. A post of two streams counts in both.",
    )
    posts_read = models.PositiveBigIntegerField(default=0)
    looked_up = models.PositiveBigIntegerField(
        default=0, help_text="Posts asked for again, to see whether they still stand."
    )
    last_post_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-day", "source"]
        verbose_name_plural = "daily usage"
        constraints = [
            models.UniqueConstraint(
                fields=["source", "day", "stream"], name="usage_once_a_day_and_stream"
            ),
            # NULLs are distinct to the constraint above.
            models.UniqueConstraint(
                fields=["source", "day"],
                condition=Q(stream__isnull=True),
                name="usage_once_a_day_and_source",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.day:%Y-%m-%d}: {self.posts_read}"


class MonthlyUsage(models.Model):
    """Posts read from a paid source in one billing month, against a budget."""

    source = models.CharField(max_length=16, choices=source_choices)
    month = models.DateField(help_text="The first day of the month, UTC.")
    stream = models.ForeignKey(
        Stream,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="usage",
        help_text="Empty for the whole source.",
    )
    posts_read = models.PositiveBigIntegerField(default=0)
    reported = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="What the source says was read by the whole account."
    )
    reported_at = models.DateTimeField(null=True, blank=True)
    alerted_at = models.DateTimeField(
        null=True, blank=True, help_text="When the budget's warning went out."
    )
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

    @property
    def used(self) -> int:
        """Posts that count against the budget: others may read on the same account."""
        return max(self.posts_read, self.reported or 0)


class RecentSearch(models.Model):
    """One collection of a query's last days, which can be interrupted and gone on with."""

    class State(models.TextChoices):
        RUNNING = "running", "running"
        DONE = "done", "done"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed"

    source = models.CharField(max_length=16, choices=source_choices, default=Source.X)
    query = models.CharField(max_length=1024)
    stream = models.ForeignKey(
        Stream, on_delete=models.SET_NULL, null=True, blank=True, related_name="searches"
    )
    start_time = models.DateTimeField(null=True, blank=True)
    end_time = models.DateTimeField(null=True, blank=True)
    newest_id = models.CharField(max_length=255, blank=True)
    oldest_id = models.CharField(
        max_length=255, blank=True, help_text="Everything newer than this is stored."
    )
    posts_read = models.PositiveBigIntegerField(default=0)
    saved = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "recent searches"

    def __str__(self) -> str:
        return f"{self.source}: {self.query}"


class WatchedFile(models.Model):
    """A file of a watched directory, and how far it has been read."""

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=1024)
    size = models.PositiveBigIntegerField()
    modified_ns = models.PositiveBigIntegerField(help_text="Its modification time, nanoseconds.")
    rows = models.PositiveBigIntegerField(default=0, help_text="Rows read up to now.")
    rejected = models.PositiveBigIntegerField(default=0)
    error = models.TextField(blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["stream", "path"], name="file_once_a_stream"),
        ]

    def __str__(self) -> str:
        return self.path
