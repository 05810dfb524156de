"""ASGI entry point: HTTP through Django, websockets through Channels."""

import os
import warnings
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

# Static files come from WhiteNoise as plain iterators. They are small, and read in a thread.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous")

django = get_asgi_application()

# The application registry must be ready before these import models.
# First, as the REST framework and its settings import each other.
import sentiment_site.urls  # noqa: E402, F401
from api.asgi import guarded  # noqa: E402
from api.express import Express  # noqa: E402
from dashboard.routing import websocket_urlpatterns  # noqa: E402


async def http(scope: Any, receive: Any, send: Any) -> None:
    """Django. A request's thread ends with it, and so must its connection to the database.

    Nobody could use it again; kept, it counts against the server's limit until Python's garbage
    collector comes by.
    """
    async with ThreadSensitiveContext():
        try:
            await django(scope, receive, send)
        finally:
            await sync_to_async(connections.close_all)()


application = ProtocolTypeRouter(
    {
        "http": guarded(Express(http)),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)
