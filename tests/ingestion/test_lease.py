"""One process a source; a dead one is followed."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from ingestion.models import Connection
from ingestion.services.lease import LEASE, Lease

pytestmark = pytest.mark.django_db


def test_a_second_process_waits_until_the_first_lets_go() -> None:
    first, second = Lease("x"), Lease("x")
    assert first.acquire() is not None
    assert second.acquire() is None
    assert first.release(cursor="42")
    taken = second.acquire()
    assert taken is not None and taken.cursor == "42"


def test_a_dead_holder_is_followed_within_30_seconds() -> None:
    assert timedelta(seconds=30) > LEASE
    first, second = Lease("x"), Lease("x")
    first.acquire()
    with time_machine.travel(timezone.now() + LEASE + timedelta(seconds=1)):
        assert second.acquire() is not None
        assert not first.renew()
    assert Connection.objects.get().lease_owner == second.owner


def test_renewing_holds_on() -> None:
    first, second = Lease("x"), Lease("x")
    first.acquire()
    with time_machine.travel(timezone.now() + LEASE - timedelta(seconds=1)):
        assert first.renew()
    with time_machine.travel(timezone.now() + LEASE + timedelta(seconds=1)):
        assert second.acquire() is None


def test_another_source_has_a_lease_of_its_own() -> None:
    assert Lease("x").acquire() is not None
    assert Lease("bluesky").acquire() is not None


def test_a_lease_that_a_clock_ahead_has_written_is_no_obstacle() -> None:
    first, second = Lease("x"), Lease("x")
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        first.acquire()
    assert second.acquire() is not None
    assert not first.renew()
