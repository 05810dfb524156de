"""Lists by confidence from an index, all predictions' and in their order: it answers what the index
of those that serve did, which goes."""

from importlib import import_module
from typing import Any

from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations, models

AddIndexOnline = import_module("modeling.migrations.0008_prediction_serving_of_post").AddIndexOnline


class RemoveIndexOnline(RemoveIndexConcurrently):
    """Without keeping writers away where the database can do that, else plainly."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        online = schema_editor.connection.vendor == "postgresql"
        kind = RemoveIndexConcurrently if online else migrations.RemoveIndex
        kind.database_forwards(self, app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        online = schema_editor.connection.vendor == "postgresql"
        kind = RemoveIndexConcurrently if online else migrations.RemoveIndex
        kind.database_backwards(self, app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("modeling", "0009_attempts")]
    operations = [
        AddIndexOnline(
            "prediction",
            models.Index(fields=["confidence", "id"], name="prediction_by_confidence"),
        ),
        RemoveIndexOnline("prediction", "prediction_uncertain"),
    ]
