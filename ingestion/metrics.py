"""Prometheus metrics of ingestion."""

from prometheus_client import Counter, Gauge

POSTS = Counter(
    "sentiment_posts_ingested_total",
    "Messages from a source, by what became of them: saved, duplicate, malformed, deleted.",
    ["source", "outcome"],
)
CONNECTED = Gauge(
    "sentiment_stream_connected",
    "1 while this source's connection stands.",
    ["source"],
    multiprocess_mode="mostrecent",
)
LAG = Gauge(
    "sentiment_stream_lag_seconds",
    "Age of the newest post when it was stored.",
    ["source"],
    multiprocess_mode="mostrecent",
)
RECONNECTS = Counter(
    "sentiment_stream_reconnects_total",
    "Connections that were lost, by cause.",
    ["source", "reason"],
)
GAPS = Counter(
    "sentiment_stream_gaps_total",
    "Outages of a source, by cause.",
    ["source", "cause"],
)
SPILLED = Gauge(
    "sentiment_stream_spilled_bytes",
    "Waiting in the write-ahead file for the database.",
    ["source"],
    multiprocess_mode="mostrecent",
)
ALERTS = Gauge(
    "sentiment_alerts_standing",
    "Alerts that stand, by kind.",
    ["kind"],
    multiprocess_mode="mostrecent",
)
BUDGET_USED = Gauge(
    "sentiment_budget_used_ratio",
    "Share of the month's budget of posts that is read; 0 where there is no budget.",
    ["source"],
    multiprocess_mode="mostrecent",
)
