"""Serves the Prometheus metrics of the process that started it, and of that one's children.

The processes count in files under PROMETHEUS_MULTIPROC_DIR. A server beside them answers the same
way for web, worker, beat and stream, also while they are busy, and needs no Django.
"""

import os
import time

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector


def main() -> None:
    """Until the parent is gone."""
    parent = os.getppid()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    ProcessCollector(pid=lambda: parent, registry=registry)
    start_http_server(
        int(os.environ["METRICS_PORT"]),
        # Prometheus asks from another container; outside of one METRICS_HOST names the loopback.
        addr=os.environ.get("METRICS_HOST", "0.0.0.0"),  # noqa: S104
        registry=registry,
    )
    while os.getppid() == parent:
        time.sleep(1)


if __name__ == "__main__":
    main()
