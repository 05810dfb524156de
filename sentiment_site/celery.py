"""The Celery application: `celery -A sentiment_site worker` finds it here."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

app = Celery("sentiment_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
