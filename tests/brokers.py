"""A message broker that is away."""

from collections.abc import Iterator
from contextlib import contextmanager

from celery import current_app


@contextmanager
def broker_away() -> Iterator[None]:
    """Nothing listens where this process sends its tasks."""
    conf, amqp = current_app.conf, current_app.amqp
    before, pool = conf.broker_write_url, amqp._producer_pool
    conf.broker_write_url, amqp._producer_pool = "redis://127.0.0.1:9/0", None
    try:
        yield
    finally:
        conf.broker_write_url, amqp._producer_pool = before, pool
