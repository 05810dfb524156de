"""One client of the flood: `bare`, `store` or `classify`. Prints what it measured as JSON."""

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")


def bare(url: str, count: int) -> float:
    """tweepy's own client, whose handler only counts; posts a second."""
    import tweepy

    from ingestion.sources import x_payload
    from ingestion.sources.x_http import HOST, Rerouted

    class Counting(tweepy.StreamingClient):
        seen = 0
        began = 0.0

        def on_tweet(self, tweet: Any) -> None:
            if not self.seen:
                self.began = time.perf_counter()
            self.seen += 1
            if self.seen == count:
                rate = count / (time.perf_counter() - self.began)
                print(json.dumps({"rate": rate}), flush=True)
                os._exit(0)

    client = Counting("a-token-for-the-flood")
    client.session.mount(f"{HOST}/", Rerouted(url, "a-token-for-the-flood"))
    client.filter(
        tweet_fields=x_payload.FIELDS,
        expansions=x_payload.EXPANSIONS,
        user_fields=x_payload.USER_FIELDS,
    )
    raise AssertionError("the last post ends the process")


class Clock:
    """From the first post that is read to when so many are done."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.began = 0.0
        self.ended = 0.0
        self.done = 0
        self.stop = threading.Event()

    def add(self, number: int) -> None:
        self.done += number
        if self.done >= self.count and not self.ended:
            self.ended = time.perf_counter()
            self.stop.set()

    @property
    def rate(self) -> float:
        return self.count / (self.ended - self.began)


def stream(clock: Clock) -> None:
    from ingestion import sources
    from ingestion.events import Connected, Event
    from ingestion.models import Connection, Post, Stream
    from ingestion.services import run_stream
    from ingestion.sources import Resume

    Post.objects.all().delete()
    Connection.objects.all().delete()
    Stream.objects.get_or_create(pk=1, defaults={"name": "cats", "query": "cats"})
    source = sources.create("x")
    connect = source.connect

    def timed(resume: Resume) -> Iterator[Event]:
        for event in connect(resume):
            if not isinstance(event, Connected):
                clock.began = clock.began or time.perf_counter()
            yield event

    source.connect = timed  # type: ignore[method-assign]
    # As `manage.py stream` does.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    run_stream(source, stop=clock.stop, max_seconds=300)


def store(count: int) -> float:
    from ingestion.signals import posts_ingested

    clock = Clock(count)
    # The model aside: nobody is told of the posts.
    posts_ingested.receivers = []
    counted = posts_ingested.connect(
        lambda post_ids, **kwargs: clock.add(len(post_ids)), weak=False
    )
    assert counted is None
    stream(clock)
    return clock.rate


def classify(count: int) -> tuple[float, float]:
    """Classified a second while streaming, and by the engine alone on the same texts."""
    from ingestion import embedded
    from ingestion.models import Post
    from modeling import serving
    from modeling.services import classify as service
    from modeling.signals import predictions_created

    serving.champion()
    clock = Clock(count)
    predictions_created.connect(
        lambda predictions, **kwargs: clock.add(len(predictions)), weak=False
    )
    with embedded.start_worker():
        stream(clock)
    texts = list(Post.objects.order_by("id").values_list("text", flat=True))
    began = time.perf_counter()
    for start in range(0, len(texts), service.CHUNK):
        serving.champion().classify(texts[start : start + service.CHUNK])
    return clock.rate, len(texts) / (time.perf_counter() - began)


def main() -> None:
    mode, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import django

    django.setup()
    if mode == "bare":
        bare(url, count)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    if mode == "store":
        print(json.dumps({"rate": store(count)}))
    else:
        rate, engine = classify(count)
        print(json.dumps({"rate": rate, "engine": engine}))


if __name__ == "__main__":
    main()
