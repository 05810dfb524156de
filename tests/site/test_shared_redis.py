"""Two sites on one Redis, by database numbers: neither hears the other's pages."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from django.conf import settings

pytestmark = pytest.mark.skipif(not settings.REDIS_URL, reason="REDIS_URL is not set")

SEND = """
import sys, django; django.setup()
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
async_to_sync(get_channel_layer().group_send)("told", {"type": "word", "word": sys.argv[1]})
"""
HEAR = """
import asyncio, django; django.setup()
from channels.layers import get_channel_layer
async def hear():
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("told", channel)
    print("listening", flush=True)
    print((await layer.receive(channel))["word"])
asyncio.run(asyncio.wait_for(hear(), 60))
"""


def start(code: str, *arguments: str, database: int) -> "subprocess.Popen[str]":
    redis_url = urlsplit(settings.REDIS_URL)._replace(path=f"/{database}").geturl()
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "DJANGO_SETTINGS_MODULE": "sentiment_site.settings",
        "SECRET_KEY": settings.SECRET_KEY,
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_number_of_the_database_keeps_sites_apart() -> None:
    with start(HEAR, database=11) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listening\n"
        for word, database in (("another's", 12), ("ours", 11)):
            with start(SEND, word, database=database) as sender:
                assert sender.wait(60) == 0
        assert listener.stdout.readline() == "ours\n"
