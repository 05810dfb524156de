"""Who may watch."""

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser


def may_watch(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Everybody where the site is open (the demo on loopback), else whoever is signed in."""
    return not settings.API_REQUIRE_AUTH or user.is_authenticated
