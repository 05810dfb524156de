"""Viewer, annotator, model manager, source manager and admin, as groups."""

from django.db import migrations

from dashboard import roles

APPS = ("ingestion", "modeling", "dashboard", "api")


def create_permissions(apps, using):
    """Those that Django makes after the last migration only: roles need them now."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    for app in APPS:
        for model in apps.get_app_config(app).get_models():
            options = model._meta
            kind, _ = ContentType.objects.using(using).get_or_create(
                app_label=app, model=options.model_name
            )
            for action in options.default_permissions:
                Permission.objects.using(using).get_or_create(
                    content_type=kind,
                    codename=f"{action}_{options.model_name}",
                    defaults={"name": f"Can {action} {options.verbose_name_raw}"},
                )


def create_roles(apps, schema_editor):
    using = "default" if schema_editor is None else schema_editor.connection.alias
    create_permissions(apps, using)
    roles.create(
        apps.get_model("auth", "Group").objects.using(using),
        apps.get_model("auth", "Permission").objects.using(using),
    )


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0001_tokens"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("dashboard", "0004_fill_periods"),
        ("ingestion", "0005_texts_of_the_api"),
        ("modeling", "0005_labelling"),
    ]

    # Going back leaves the groups: people are in them.
    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
