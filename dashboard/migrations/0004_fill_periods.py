"""Hours and days of the minutes that are there already."""

from collections import defaultdict
from typing import Any

from django.db import migrations

ROWS_A_STATEMENT = 1000


def fill(apps: Any, schema_editor: Any) -> None:
    """Sums in Python, a pass over the minutes: databases cut time into hours in different words."""
    SentimentBucket = apps.get_model("dashboard", "SentimentBucket")
    SentimentPeriod = apps.get_model("dashboard", "SentimentPeriod")
    totals: dict[Any, list[float]] = defaultdict(lambda: [0, 0.0])
    rows = SentimentBucket.objects.order_by().values_list(
        "minute", "stream_id", "category_id", "count", "confidence_sum"
    )
    for minute, stream, category, count, confidence in rows.iterator():
        hour = minute.replace(minute=0, second=0, microsecond=0)
        for seconds, start in ((3600, hour), (86400, hour.replace(hour=0))):
            entry = totals[seconds, start, stream, category]
            entry[0] += count
            entry[1] += confidence
    SentimentPeriod.objects.bulk_create(
        (
            SentimentPeriod(
                seconds=seconds,
                start=start,
                stream_id=stream,
                category_id=category,
                count=count,
                confidence_sum=confidence,
            )
            for (seconds, start, stream, category), (count, confidence) in totals.items()
        ),
        batch_size=ROWS_A_STATEMENT,
    )


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0003_periods")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop, elidable=True)]
