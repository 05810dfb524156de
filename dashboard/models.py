"""Roll-ups that keep a chart's cost independent of the number of posts."""

from django.db import models
from django.utils import timezone

from ingestion.models import Post, Stream
from modeling.models import Category


class SentimentBucket(models.Model):
    """Posts of one stream and category in one minute, by the posts' own time.

    A post of several streams counts in each; the row without a stream counts every post once.
    """

    minute = models.DateTimeField()
    stream = models.ForeignKey(
        Stream, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    category = models.ForeignKey(Category, on_delete=models.CASCADE, related_name="+")
    count = models.PositiveIntegerField(default=0)
    confidence_sum = models.FloatField(default=0, help_text="Divide by count for the mean.")

    class Meta:
        ordering = ["-minute"]
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "category", "minute"], name="bucket_once_a_stream"
            ),
            # NULLs are distinct to the constraint above.
            models.UniqueConstraint(
                fields=["category", "minute"],
                condition=models.Q(stream__isnull=True),
                name="bucket_once_overall",
            ),
        ]
        indexes = [models.Index(fields=["stream", "minute"], name="bucket_timeline")]

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.category_id}: {self.count}"


class SentimentPeriod(models.Model):
    """The same for whole hours and days (UTC), so that a chart of years reads few rows.

    Written with `SentimentBucket`, in the same transactions.
    """

    class Length(models.IntegerChoices):
        HOUR = 3600, "hour"
        DAY = 86400, "day"

    seconds = models.PositiveIntegerField(choices=Length.choices)
    start = models.DateTimeField()
    stream = models.ForeignKey(
        Stream, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    category = models.ForeignKey(Category, on_delete=models.CASCADE, related_name="+")
    count = models.PositiveIntegerField(default=0)
    confidence_sum = models.FloatField(default=0, help_text="Divide by count for the mean.")

    class Meta:
        ordering = ["-start"]
        constraints = [
            models.UniqueConstraint(
                fields=["seconds", "stream", "category", "start"], name="period_once_a_stream"
            ),
            models.UniqueConstraint(
                fields=["seconds", "category", "start"],
                condition=models.Q(stream__isnull=True),
                name="period_once_overall",
            ),
        ]
        indexes = [models.Index(fields=["seconds", "stream", "start"], name="period_timeline")]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} {self.seconds} s {self.category_id}: {self.count}"


class Withdrawal(models.Model):
    """That a judged post stopped counting: open pages read these as they read predictions.

    Kept for an hour: a page that was away for longer starts from a snapshot anyway.
    """

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["created_at"], name="withdrawal_age")]

    def __str__(self) -> str:
        return f"{self.post_id} at {self.created_at:%Y-%m-%d %H:%M:%S}"
