import ingestion.models.sources
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0004_post_search")]
    operations = [
        migrations.AlterField(
            model_name="post",
            name="source",
            field=models.CharField(
                choices=ingestion.models.sources.post_source_choices, max_length=16
            ),
        ),
    ]
