"""Posts whose language was stored as it came: en-US becomes en-us, as new ones have it."""

from typing import Any

from django.db import migrations
from django.db.models import Min

from ingestion.language_tags import normalised

CHUNK = 5000


def normalise(apps: Any, schema_editor: Any) -> None:
    """From one stored tag to the next, by the index; a part of its posts at a time."""
    posts = apps.get_model("ingestion", "Post").objects.using(schema_editor.connection.alias)
    tag = posts.order_by().aggregate(first=Min("lang"))["first"]
    while tag is not None:
        if (wanted := normalised(tag)) != tag:
            of_tag = posts.filter(lang=tag).order_by().values_list("pk", flat=True)
            while ids := list(of_tag[:CHUNK]):
                posts.filter(pk__in=ids).update(lang=wanted)
        tag = posts.filter(lang__gt=tag).order_by().aggregate(next=Min("lang"))["next"]


class Migration(migrations.Migration):
    # Each part commits by itself: none waits for all, and what breaks off goes on where it was.
    atomic = False
    dependencies = [("ingestion", "0009_pruning")]
    operations = [migrations.RunPython(normalise, migrations.RunPython.noop, elidable=True)]
