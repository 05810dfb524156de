"""Prometheus metrics of the model."""

from prometheus_client import Counter, Gauge, Histogram

PREDICTIONS = Counter(
    "sentiment_predictions_total",
    "Texts classified.",
    ["label", "model_version", "channel"],
)
PREDICTION_SECONDS = Histogram(
    "sentiment_prediction_duration_seconds",
    "Time from texts to probabilities, a call.",
    ["channel"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
CONFIDENCE = Histogram(
    "sentiment_prediction_confidence",
    "Probability of the chosen category.",
    buckets=(0.34, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
BATCH_SIZE = Histogram(
    "sentiment_inference_batch_size",
    "Texts a batch of the engine.",
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
QUEUE_DEPTH = Gauge(
    "sentiment_inference_queue_depth",
    "Texts that wait for a batch.",
    multiprocess_mode="livesum",
)
CACHE = Counter(
    "sentiment_prediction_cache_total",
    "Texts looked up among those judged before.",
    ["result"],
)
CACHE_HITS, CACHE_MISSES = CACHE.labels("hit"), CACHE.labels("miss")
DRIFT = Gauge(
    "sentiment_drift_score",
    "The last quality report's statistics as multiples of what chance allows: above 1 is drift.",
    ["feature"],
    multiprocess_mode="mostrecent",
)
RETRAINING_RUNS = Counter(
    "sentiment_retraining_runs_total", "Training runs that ended.", ["result"]
)
