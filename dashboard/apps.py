from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Live pages: counts by minute, charts and the websocket."""

    name = "dashboard"
