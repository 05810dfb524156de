from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Live pages: counts by minute, charts and the websocket."""

    name = "dashboard"

    def ready(self) -> None:
        from dashboard import receivers
        from ingestion.signals import alert_raised
        from modeling.signals import predictions_created

        predictions_created.connect(receivers.count_predictions)
        alert_raised.connect(receivers.tell_browsers)
