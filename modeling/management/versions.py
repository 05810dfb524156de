"""Finding the version that a command names, and saying who runs the command."""

import getpass

from django.core.management.base import CommandError

from modeling.models import LabelScheme, ModelVersion


def find_version(number: str | None, scheme_key: str = LabelScheme.DEFAULT_KEY) -> ModelVersion:
    """The version with this number, or the champion for None and "champion".

    Raises CommandError (exit 2).
    """
    versions = ModelVersion.objects.of_scheme(scheme_key).select_related("scheme")
    if number is None or number == ModelVersion.Stage.CHAMPION:
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


def find_scheme(key: str) -> LabelScheme:
    """Raises CommandError (exit 2)."""
    scheme = LabelScheme.objects.filter(key=key).first()
    if scheme is None:
        raise CommandError(f"no scheme has the key {key!r}", returncode=2)
    return scheme


def command_line_actor() -> str:
    """What the promotion ledger says of a command: the login name of whoever runs it."""
    try:
        return f"command line ({getpass.getuser()})"
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return "command line"
