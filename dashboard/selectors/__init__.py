"""The numbers that pages and websocket show."""

from dashboard.selectors.choices import languages, streams
from dashboard.selectors.comparison import (
    Against,
    Comparison,
    NotComparable,
    against_of,
    comparison,
    net_difference,
)
from dashboard.selectors.counts import Timeline, net_band, net_sentiment, timeline, totals
from dashboard.selectors.details import by_stream, details, promotions
from dashboard.selectors.live import (
    TICK_LIMIT,
    latest_id,
    news_since,
    rate,
    serving_model,
    withdrawn_since,
)
from dashboard.selectors.posts import (
    NEWEST,
    Judged,
    distinctive_terms,
    judged_sample,
    newest_posts,
    posts_of_bin,
    stream_ids_of,
)
from dashboard.selectors.view import (
    MAXIMUM_BINS,
    RANGES,
    View,
    Wanted,
    categories,
    make_view,
    view_of,
)

__all__ = [
    "MAXIMUM_BINS",
    "NEWEST",
    "RANGES",
    "TICK_LIMIT",
    "Against",
    "Comparison",
    "Judged",
    "NotComparable",
    "Timeline",
    "View",
    "Wanted",
    "against_of",
    "by_stream",
    "categories",
    "comparison",
    "details",
    "distinctive_terms",
    "judged_sample",
    "languages",
    "latest_id",
    "make_view",
    "net_band",
    "net_difference",
    "net_sentiment",
    "news_since",
    "newest_posts",
    "posts_of_bin",
    "promotions",
    "rate",
    "serving_model",
    "stream_ids_of",
    "streams",
    "timeline",
    "totals",
    "view_of",
    "withdrawn_since",
]
