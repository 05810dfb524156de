"""How long to wait before connecting again, by cause."""

import time

import pytest

from ingestion.backoff import Backoff
from ingestion.exceptions import Closed, NetworkFault, RateLimited, Stalled, Unavailable


def test_the_first_reconnect_after_a_network_fault_is_at_once_then_the_wait_grows() -> None:
    backoff = Backoff()
    waits = [backoff.delay(NetworkFault("reset")) for _ in range(100)]
    assert waits[0] < 0.1
    assert 0.2 <= waits[1] <= 0.35
    assert 12 < waits[-1] < 20


def test_a_stall_is_a_network_fault() -> None:
    backoff = Backoff()
    backoff.delay(NetworkFault("reset"))
    assert backoff.delay(Stalled("silent")) > 0.1


def test_clean_closes_do_not_become_a_hot_loop() -> None:
    backoff = Backoff()
    # X allows 50 connects in 15 minutes.
    assert sum(backoff.delay(Closed("bye")) for _ in range(50)) > 900


def test_trouble_at_the_source_is_met_exponentially_up_to_320_seconds() -> None:
    backoff = Backoff()
    waits = [backoff.delay(Unavailable("503")) for _ in range(20)]
    assert 4 <= waits[0] <= 6.1
    assert 8 <= waits[1] <= 12.1
    assert 256 <= waits[-1] <= 385


def test_a_rate_limit_is_waited_out_as_its_header_says() -> None:
    wait = Backoff().delay(RateLimited("429", retry_at=time.time() + 100))
    assert 100 <= wait <= 104


def test_a_rate_limit_without_a_header_waits_a_minute_and_more() -> None:
    backoff = Backoff()
    assert 48 <= backoff.delay(RateLimited("429")) <= 73
    assert backoff.delay(RateLimited("429")) > 90


@pytest.mark.parametrize("retry_at", [0.0, 1e10])
def test_a_reset_that_makes_no_sense_neither_hammers_nor_waits_for_ever(retry_at: float) -> None:
    assert 0.5 <= Backoff().delay(RateLimited("429", retry_at=retry_at)) <= 904


def test_a_connection_that_stood_for_a_minute_wipes_the_slate() -> None:
    moments = iter([0.0, 10.0, 20.0, 81.0])
    backoff = Backoff(clock=lambda: next(moments))
    for _ in range(10):
        backoff.delay(Closed("bye"))
    backoff.connected()
    assert backoff.delay(Closed("bye")) > 20
    backoff.connected()
    assert backoff.delay(Closed("bye")) < 0.1
