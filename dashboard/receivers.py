"""What the dashboard does when the apps below have news."""

from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from dashboard import buckets, news, state
from dashboard.events import Alert
from modeling.models import Prediction, TrainingRun

# Alerts and trainings: what is told when it happens, beside the ticks.
NEWS_GROUP = "news"


def count_predictions(predictions: list[Prediction], **kwargs: Any) -> None:
    buckets.add(predictions)


def withdraw_posts(counted_ids: list[int], **kwargs: Any) -> None:
    buckets.withdraw(counted_ids)
    news.note_withdrawn(counted_ids)


def join_streams(links: list[tuple[int, int]], **kwargs: Any) -> None:
    buckets.join(links)


def tell_browsers(kind: str, message: str, active: bool, **kwargs: Any) -> None:
    alert = Alert(type="alert", kind=kind, message=message, active=active)
    _tell({"type": "alert", "alert": alert})


def tell_of_training(run: TrainingRun, **kwargs: Any) -> None:
    _tell({"type": "training", "training": state.training_event(run)})


def _tell(event: dict[str, Any]) -> None:
    async_to_sync(get_channel_layer().group_send)(NEWS_GROUP, event)
