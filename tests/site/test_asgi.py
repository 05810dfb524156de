"""The ASGI application as a whole."""

import gc
import urllib.request

import pytest
from django.db import connection

from modeling.models import ModelVersion
from tests.conftest import wait_until


@pytest.mark.django_db(transaction=True)
def test_requests_leave_no_connection_to_the_database_behind(
    live_site: str, champion: ModelVersion
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only a server counts connections")

    def connected() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
            (count,) = cursor.fetchone()
        return int(count)

    gc.disable()
    try:
        before = connected()
        for _ in range(8):
            with urllib.request.urlopen(live_site + "/model/info", timeout=30) as answer:
                assert answer.status == 200
        # The server closes what the requests have let go of a little later.
        wait_until(lambda: connected() <= before + 1)
    finally:
        gc.enable()


def test_browsers_find_the_icon(live_site: str, transactional_db: None) -> None:
    with urllib.request.urlopen(live_site + "/favicon.ico", timeout=30) as answer:
        assert answer.headers["Content-Type"] == "image/svg+xml"
