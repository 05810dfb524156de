"""Whether this container does its work: `health web`, `worker`, `stream`, `beat` or `mlflow`.

Exit code 0 or 1. Asks the servers themselves and loads no Django, so that asking costs little.
"""

import os
import socket
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

# Celery beat writes what it has run only every three minutes.
BEAT_MINUTES = 10
TIMEOUT_SECONDS = 8
# What leaves the host may go by HTTP_PROXY; what is asked here stays here.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _setting(name: str) -> str:
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ[name]


def _answers(path: str, port: str) -> str:
    """Empty when it answers with success, else why not."""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with OPENER.open(url, timeout=TIMEOUT_SECONDS):
            return ""
    except (HTTPError, URLError, OSError) as error:
        return f"{url}: {error}"


def web() -> str:
    return _answers("/health", os.environ.get("PORT", "8000"))


def mlflow() -> str:
    return _answers("/health", os.environ.get("PORT", "5000"))


def worker() -> str:
    """A worker that is asked over the broker answers, unless it hangs."""
    from celery import Celery

    name = os.environ.get("NODE", f"celery@{socket.gethostname()}")
    app = Celery(broker=_setting("REDIS_URL"))
    if app.control.inspect([name], timeout=TIMEOUT_SECONDS, limit=1).ping():
        return ""
    return f"{name} does not answer over the broker"


stream = worker


def beat() -> str:
    """Something of the schedule has been sent lately."""
    import psycopg2

    query = (
        "SELECT max(last_run_at) > now() - make_interval(mins => %s) "
        "FROM django_celery_beat_periodictask WHERE enabled"
    )
    connection = psycopg2.connect(_setting("DATABASE_URL"), connect_timeout=TIMEOUT_SECONDS)
    with connection, connection.cursor() as cursor:
        cursor.execute(query, [BEAT_MINUTES])
        (is_well,) = cursor.fetchone()
    return "" if is_well else f"nothing was sent in {BEAT_MINUTES} minutes"


CHECKS = {check.__name__: check for check in (web, worker, beat, mlflow)} | {"stream": stream}


def main() -> None:
    role = sys.argv[1] if len(sys.argv) > 1 else "web"
    if role not in CHECKS:
        sys.exit(f"health: {role!r} is not one of: {', '.join(sorted(CHECKS))}")
    if problem := CHECKS[role]():
        sys.exit(problem)


if __name__ == "__main__":
    main()
