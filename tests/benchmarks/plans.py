"""How PostgreSQL answers what the program asks of five million posts.

`make bench ARGS=plans`. Fills a server of its own (BENCH_POSTS, BENCH_DAYS; some 2 KB a post), does
what people, programs and tasks do, and has each statement explained with its own values: what it
took, how many pages it read, and where a large table was read from end to end. BENCH_PLANS=folder
keeps the plans.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks import large

# A table of fewer rows is best read whole.
LARGE = 20_000
SLOW_MS = 100.0


@dataclass
class Statement:
    """One statement of an action, as PostgreSQL carried it out."""

    sql: str
    milliseconds: float
    pages: int
    scans: list[str]
    plan: Any = field(repr=False, default=None)


class Explainer:
    """Has every statement explained before it is carried out; what changes rows is undone."""

    def __init__(self) -> None:
        self.found: list[Statement] = []
        self._is_asking = False

    def __call__(self, execute: Callable, sql: str, params: Any, many: bool, context: Any) -> Any:
        verb = sql.lstrip(" (").split(None, 1)[0].upper()
        if not self._is_asking and not many and verb in {"SELECT", "UPDATE", "DELETE", "INSERT"}:
            self._is_asking = True
            try:
                self._explain(sql, params)
            finally:
                self._is_asking = False
        return execute(sql, params, many, context)

    def _explain(self, sql: str, params: Any) -> None:
        from django.db import connection, transaction

        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            ((answer,),) = cursor.fetchall()
            transaction.set_rollback(True)
        (root,) = json.loads(answer) if isinstance(answer, str) else answer
        nodes = list(_nodes(root["Plan"]))
        read = root["Plan"]["Shared Hit Blocks"] + root["Plan"]["Shared Read Blocks"]
        scans = [
            f"{node['Relation Name']} ({int(rows):,} rows)"
            for node in nodes
            if node["Node Type"] == "Seq Scan" and (rows := _rows_read(node)) >= LARGE
        ]
        took = root["Execution Time"] + root["Planning Time"]
        self.found.append(Statement(sql, took, read, scans, root))


def _rows_read(node: dict[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0)
    return float((node["Actual Rows"] + removed) * node["Actual Loops"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


@contextmanager
def explained() -> Iterator[list[Statement]]:
    from django.db import connection

    explainer = Explainer()
    with connection.execute_wrapper(explainer):
        yield explainer.found


def pages() -> dict[str, str]:
    """Name → address of everything that reads many posts."""
    from ingestion.models import Stream

    stream = Stream.objects.order_by("pk").values_list("pk", flat=True)[0]
    live = {
        f"page /?{query}": f"/?{query}"
        for query in (
            *("range=15m", "range=24h", "range=30d", "range=all", f"range=30d&stream={stream}"),
            *("range=24h&lang=de", "range=all&lang=de", "range=30d&q=late+good"),
            "range=all&q=word1f3",
        )
    }
    others = [
        *("/live/data/?range=24h", "/live/details/?range=30d", "/live/bins.csv?range=30d"),
        *("/models/", "/models/1/", "/models/runs/", "/models/reports/"),
        *("/label/", "/label/review/", "/label/search/?q=late+good"),
        *(
            "/admin/ingestion/post/",
            "/admin/ingestion/post/?q=late",
            "/admin/ingestion/post/?p=100",
        ),
        *("/admin/ingestion/post/?source__exact=x", "/admin/ingestion/stream/"),
        *("/admin/modeling/modelversion/", "/metrics"),
    ]
    lists = [
        *("posts", "posts?language=de", f"posts?stream={stream}", "posts?source=x"),
        *("posts?category=negative", "posts?search=late+good", "posts?search=word1f3"),
        *("posts?ordering=created_at", "posts?ordering=-received_at", "posts?versions=all"),
        *("posts?since={month}&until={month_end}&language=fr", "predictions"),
        *("predictions?category=positive", "predictions?language=de", "predictions?source=x"),
        *(f"predictions?stream={stream}", "predictions?search=word1f3", "annotations"),
        *("predictions?since={month}&until={month_end}", "predictions?ordering=confidence"),
        *("streams", "connections", "gaps", "usage", "reports", "models", "promotions", "alerts"),
    ]
    from django.utils import timezone

    month = timezone.now() - timedelta(days=large.DAYS // 2)
    times = {
        "month": f"{month:%Y-%m-%dT%H:%M:%SZ}",
        "month_end": f"{month + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
    }
    api = {f"list {name}": f"/api/v1/{name.format(**times)}" for name in lists}
    return live | {f"page {address}": address for address in others} | api


def work() -> dict[str, Callable[[], Any]]:
    """Name → what tasks, commands and sockets do."""
    from django.utils import timezone

    from dashboard import selectors as live
    from dashboard.news import News
    from ingestion.events import IncomingPost
    from ingestion.models import Post
    from ingestion.selectors import source_reports
    from ingestion.services import deletions, store
    from modeling import selectors, tasks
    from modeling.models import LabelScheme
    from modeling.services import classify, quality, retention, retrain

    scheme = LabelScheme.objects.get()
    now = timezone.now()

    def claim(**options: Any) -> list[int]:
        waiting = selectors.unclassified_posts(scheme, **options)
        return list(waiting.values_list("pk", flat=True)[:1024])

    def claim_again() -> list[tuple[int, str]]:
        newest = Post.objects.order_by("-pk").values_list("pk", flat=True)[:256]
        waiting = selectors.unclassified_posts(scheme).filter(pk__in=list(newest))
        return list(waiting.values_list("pk", "text"))

    def save() -> None:
        # The moment keeps them apart from those of an earlier run.
        posts = [
            IncomingPost("x", f"new-{now.timestamp()}-{n}", "a new post", now) for n in range(500)
        ]
        store(posts, announce=False)

    def wait_for_deletions() -> list[int]:
        waiting = deletions._waiting("x", now - timedelta(hours=1))
        return list(waiting.values_list("pk", flat=True)[:100])

    def cut_off(days: float) -> Any:
        return now - timedelta(days=days)

    return {
        "sweep: claim what came in the last hour": lambda: claim(
            received_since=now - timedelta(hours=tasks.SWEEP)
        ),
        "classify --pending: claim what is left": lambda: list(classify._waiting(scheme, None)),
        "classify: claim a chunk": claim_again,
        "store 500 posts": save,
        "tick of the live page": lambda: News().read(),
        "serving model and newest posts": lambda: live.serving_model(),
        "streams, usage": source_reports,
        "quality report": lambda: quality.build_report(scheme),
        "retraining check": lambda: retrain.check(scheme),
        "deletions to look up": wait_for_deletions,
        "prune --dry-run": lambda: retention.prune(cut_off(large.DAYS * 0.9), dry_run=True),
        "prune, 20 chunks": lambda: retention.prune(
            cut_off(large.DAYS * (1 - 20 * retention.CHUNK / large.POSTS))
        ),
    }


def ask(address: str) -> None:
    from django.contrib.auth.models import User
    from django.test import Client

    user, _ = User.objects.get_or_create(username="bench", is_superuser=True, is_staff=True)
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    answer = client.get(address, headers={"Accept": "text/html, application/json"})
    body = answer.getvalue()
    if answer.status_code != 200 or not body:
        sys.exit(f"{address}: {answer.status_code} {body[:400]!r}")


def measure() -> None:
    print("| action | took, ms | statements | slowest, ms | pages read | large table read whole |")
    print("|---|---|---|---|---|---|")
    slow: list[tuple[str, Statement]] = []
    actions: dict[str, Callable[[], Any]] = {
        name: (lambda address=address: ask(address)) for name, address in pages().items()
    }
    only = os.environ.get("BENCH_ONLY", "")
    for name, action in {**actions, **work()}.items():
        if only not in name:
            continue
        started = time.perf_counter()
        action()
        took = 1000 * (time.perf_counter() - started)
        with explained() as found:
            action()
        worst = max(found, key=lambda one: one.milliseconds, default=Statement("", 0, 0, []))
        scans = sorted({scan for one in found for scan in one.scans})
        total = sum(one.pages for one in found)
        print(
            f"| {name} | {took:,.0f} | {len(found)} | {worst.milliseconds:,.1f} | {total:,} "
            f"| {'; '.join(scans) or '–'} |",
            flush=True,
        )
        slow += [(name, one) for one in found if one.milliseconds > SLOW_MS or one.scans]
    _tell(slow)


def _tell(slow: list[tuple[str, Statement]]) -> None:
    """The statements to look at, each once, slowest first."""
    seen: set[str] = set()
    folder = os.environ.get("BENCH_PLANS")
    for name, one in sorted(slow, key=lambda entry: -entry[1].milliseconds):
        if one.sql in seen:
            continue
        seen.add(one.sql)
        print(f"\n{one.milliseconds:,.0f} ms, {one.pages:,} pages, {name}: {one.sql[:1500]}")
        if folder:
            path = Path(folder, f"{len(seen):02}.json")
            path.write_text(json.dumps({"sql": one.sql, "plan": one.plan}, indent=1))


if __name__ == "__main__":
    large.run(__spec__.name, measure)
