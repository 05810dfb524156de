from django.db import migrations

CATEGORIES = [
    ("negative", "Negative", "#d9480f", -1.0),
    ("neutral", "Neutral", "#8a94a6", 0.0),
    ("positive", "Positive", "#0b8f83", 1.0),
]


def create_default_scheme(apps, schema_editor):
    """The scheme that every installation begins with."""
    scheme, _ = apps.get_model("modeling", "LabelScheme").objects.get_or_create(
        key="sentiment", defaults={"name": "Sentiment"}
    )
    for position, (key, name, color, polarity) in enumerate(CATEGORIES):
        apps.get_model("modeling", "Category").objects.get_or_create(
            scheme=scheme,
            key=key,
            defaults={"name": name, "color": color, "polarity": polarity, "position": position},
        )


def remove_default_scheme(apps, schema_editor):
    apps.get_model("modeling", "LabelScheme").objects.filter(key="sentiment").delete()


class Migration(migrations.Migration):
    dependencies = [("modeling", "0001_initial")]

    operations = [migrations.RunPython(create_default_scheme, remove_default_scheme)]
