"""Messages a second that the Bluesky source takes from a Jetstream that has them ready.

`make bench ARGS=jetstream`. The stand-in replays 50,000 posts from a process of its own, over a
real socket; storing is not part of it (see `import`). Bluesky's whole network makes about 1,000
events a second, of which posts are a small part.
"""

import itertools
import multiprocessing
import os
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from ingestion.events import Connected, IncomingPost
from ingestion.models import Stream
from ingestion.sources import Resume
from ingestion.sources.bluesky import BlueskySource
from ingestion.sources.bluesky_resume import Position
from modeling import starter
from tests.jetstream import Jetstream

COUNT = 50_000
LANGUAGES = ("en", "ja", "en", "pt", "en", "de")
# Nobody else writes it: the replay is over when it has come.
LAST = "thisisthelastpost"
CASES: tuple[tuple[str, str, list[str]], ...] = (
    ("every post", "", []),
    ("a word, in English", f"love OR {LAST}", ["en"]),
    ("a word, in German", f"love OR {LAST}", ["de"]),
)


def serve(pipe: Connection, began: datetime) -> None:
    """Keep the posts ready until the pipe says enough."""
    texts = itertools.cycle(post.text for post in starter.labelled())
    with Jetstream() as server:
        for number, text in enumerate(itertools.islice(texts, COUNT - 1)):
            at = began + timedelta(milliseconds=number)
            server.publish(text, at=at, langs=[LANGUAGES[number % len(LANGUAGES)]])
        server.publish(LAST, langs=["en", "de"])
        pipe.send(server.url)
        pipe.recv()


def measure(url: str, version: int, stream: Stream, began: datetime) -> tuple[float, float, int]:
    """Messages a second, microseconds of processor time a message, posts that were asked for."""
    source = BlueskySource([url], version)
    source.follow([stream])
    wanted, start, used = 0, 0.0, 0.0
    for event in source.connect(Resume(str(Position.at(began)))):
        if isinstance(event, Connected):
            start, used = time.perf_counter(), time.process_time()
        elif isinstance(event, IncomingPost):
            wanted += 1
            if event.text == LAST:
                break
    seconds, used = time.perf_counter() - start, time.process_time() - used
    return COUNT / seconds, used / COUNT * 1e6, wanted


def main() -> None:
    began = datetime.now(UTC) - timedelta(minutes=10)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, began))
    process.start()
    url = ours.recv()
    print(f"{'version':>7}  {'asked for':<20} {'messages/s':>10} {'us CPU each':>12} {'posts':>7}")
    for version, (name, query, languages) in itertools.product((1, 2), CASES):
        stream = Stream(pk=1, name=name, query=query, languages=languages)
        rate, used, wanted = measure(url, version, stream, began)
        print(f"{version:>7}  {name:<20} {rate:>10,.0f} {used:>12.1f} {wanted:>7,}")
    ours.send("enough")
    process.join()


if __name__ == "__main__":
    main()
