"""WSGI entry point, for servers and tools that know no ASGI: pages and API, no websocket."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

application = get_wsgi_application()
