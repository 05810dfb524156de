"""Full-text search in posts, on PostgreSQL; SQLite looks through the texts."""

from django.db import migrations

CREATE = (
    "CREATE INDEX post_words ON ingestion_post "
    "USING gin (to_tsvector('simple'::regconfig, left(text, 10000)))"
)


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX post_words")


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0003_alerts")]
    operations = [migrations.RunPython(create, drop)]
