from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Live pages: counts by minute, charts and the websocket."""

    name = "dashboard"

    def ready(self) -> None:
        from dashboard import receivers
        from ingestion.signals import alert_raised, posts_joined, posts_withdrawn
        from modeling.signals import predictions_created, training_moved

        predictions_created.connect(receivers.count_predictions)
        posts_withdrawn.connect(receivers.withdraw_posts)
        posts_joined.connect(receivers.join_streams)
        alert_raised.connect(receivers.tell_browsers)
        training_moved.connect(receivers.tell_of_training)
