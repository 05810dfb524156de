"""Long readings that are gone on with after a break."""

from __future__ import annotations

from django.db import models

from ingestion.models.sources import Source, source_choices
from ingestion.models.streams import Stream


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
