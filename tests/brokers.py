"""A message broker that is away."""

from collections.abc import Iterator
from contextlib import contextmanager

from celery import current_app as app


@contextmanager
def broker_away() -> Iterator[None]:
    """Nothing listens where this process sends its tasks."""
    before = app.conf.broker_write_url, app._pool, app.amqp._producer_pool
    app.conf.broker_write_url = "redis://127.0.0.1:9/0"
    # Celery keeps both: one to send by, one that workers are started with.
    app._pool = app.amqp._producer_pool = None
    try:
        yield
    finally:
        app.conf.broker_write_url, app._pool, app.amqp._producer_pool = before
