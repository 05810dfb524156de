"""Posts that were edited before superseded ones were marked: their earlier versions count no more."""

from typing import Any

from django.db import migrations


def supersede(apps: Any, schema_editor: Any) -> None:
    posts = apps.get_model("ingestion", "Post").objects.using(schema_editor.connection.alias)
    edited = posts.filter(edited_from__isnull=False).order_by().values("edited_from")
    posts.filter(is_superseded=False, pk__in=edited).update(is_superseded=True)


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0006_audit_entries")]
    operations = [migrations.RunPython(supersede, migrations.RunPython.noop, elidable=True)]
