"""What the dashboard does when the apps below have news."""

from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from dashboard import buckets, news
from dashboard.events import Alert
from modeling.models import Prediction

ALERT_GROUP = "alerts"


def count_predictions(predictions: list[Prediction], **kwargs: Any) -> None:
    buckets.add(predictions)


def withdraw_posts(counted_ids: list[int], **kwargs: Any) -> None:
    buckets.withdraw(counted_ids)
    news.note_withdrawn(counted_ids)


def join_streams(links: list[tuple[int, int]], **kwargs: Any) -> None:
    buckets.join(links)


def tell_browsers(kind: str, message: str, active: bool, **kwargs: Any) -> None:
    alert = Alert(type="alert", kind=kind, message=message, active=active)
    async_to_sync(get_channel_layer().group_send)(ALERT_GROUP, {"type": "alert", "alert": alert})
