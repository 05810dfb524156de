"""People who ask for pages where the site is closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import translation
from pytest_django.fixtures import Settings

from tests.dashboard.browser import close_chromium


@pytest.fixture(scope="session", autouse=True)
def one_chromium() -> Iterator[None]:
    yield
    close_chromium()


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    """A request's language stays with the thread: the next test begins without one."""
    yield
    translation.deactivate()


@pytest.fixture
def manager(client: Client, settings: Settings) -> Client:
    """Somebody who may promote, where the site is closed."""
    settings.API_REQUIRE_AUTH = True
    user = User.objects.create_user("mona", password="a-long-password")
    user.user_permissions.add(Permission.objects.get(codename="change_modelversion"))
    client.force_login(user)
    return client


@pytest.fixture
def looker(settings: Settings) -> Client:
    """Somebody who may look and no more."""
    settings.API_REQUIRE_AUTH = True
    client = Client()
    client.force_login(User.objects.create_user("ann", password="a-long-password"))
    return client
