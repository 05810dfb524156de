"""Finding the version that a command names."""

from django.core.management.base import CommandError

from modeling.models import LabelScheme, ModelVersion


def find_version(number: str | None, scheme_key: str = LabelScheme.DEFAULT_KEY) -> ModelVersion:
    """The version with this number, or the champion for None. Raises CommandError (exit 2)."""
    versions = ModelVersion.objects.of_scheme(scheme_key)
    if number is None:
        found = versions.champions().first()
        if found is None:
            raise CommandError("no model serves yet: run `python manage.py bootstrap`")
        return found
    found = versions.filter(version=int(number)).first() if number.isdecimal() else None
    if found is None:
        known = ", ".join(str(v) for v in versions.values_list("version", flat=True)[:20])
        raise CommandError(
            f"there is no version {number!r}; there are: {known or 'none'}", returncode=2
        )
    return found
