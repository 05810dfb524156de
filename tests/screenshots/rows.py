"""A believable day of the product: people talk, models change, three colleagues label."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import time_machine
from django.contrib.auth.models import Group, User
from django.db.models import F
from django.utils import timezone

from ingestion.events import IncomingPost
from ingestion.models import Alert, Connection, Gap, MonthlyUsage, Source, Stream
from ingestion.services import store
from modeling import starter
from modeling.models import (
    Annotation,
    Assignment,
    Category,
    LabelScheme,
    ModelVersion,
    Prediction,
    Promotion,
    TrainingRun,
)
from modeling.services import annotate, classify, quality, truth
from modeling.services.queue import draw

RUN_TIMES = ("created_at", "started_at", "finished_at")
CHATTER = "Everyday chatter"
SOURCES = (Source.X, Source.BLUESKY, Source.MASTODON, Source.RSS, Source.X)
# Hours before now, and posts from then on: a quiet night, then a day that ends in a crowd.
DAY = ((24, 90), (18, 60), (12, 150), (6, 260), (1, 760))
PEOPLE = (("ada", 0.04, 70), ("grace", 0.10, 55), ("katherine", 0.16, 40), ("demo", 0.05, 40))
# What goes on to come while pictures are taken, as many as came in the last hour.
PAUSE_SECONDS = 3.0


class Stories:
    """The demo's stories side by side, each of its own stream and source, without end."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._choice = random.Random(7)
        self._streams: dict[str, Stream] = {}
        topics = [*starter.demo_topics(), CHATTER]
        for topic, source in zip(topics, itertools.cycle(SOURCES), strict=False):
            self._streams[topic] = Stream.objects.create(
                name=topic, source=source, query=self._query(topic, source), monthly_budget=40_000
            )
        self._posts = self._told()

    def posts(self, moments: Sequence[datetime]) -> list[IncomingPost]:
        """The next posts, one a moment."""
        return [self._incoming(next(self._posts), moment) for moment in moments]

    @staticmethod
    def _query(topic: str, source: str) -> str:
        if source == Source.RSS:
            return f"https://news.example.org/{topic.split()[0].lower()}.xml"
        return f'"{topic.lower()}" lang:en -is:retweet' if source == Source.X else topic.lower()

    def _told(self) -> Iterator[starter.DemoPost]:
        while True:
            stories = {topic: iter(starter.demo_posts(topic)) for topic in starter.demo_topics()}
            chatter = [
                starter.DemoPost(CHATTER, f"{post.domain[:12]}_{index % 97}", post.text)
                for index, post in enumerate(starter.challenge())
            ]
            self._choice.shuffle(chatter)
            stories[CHATTER] = iter(chatter)
            while len(stories) > 1:
                topic = self._choice.choice(list(stories))
                if (post := next(stories[topic], None)) is None:
                    del stories[topic]
                else:
                    yield post

    def _incoming(self, post: starter.DemoPost, moment: datetime) -> IncomingPost:
        stream = self._streams[post.topic]
        return IncomingPost(
            source=stream.source,
            external_id=f"shot-{next(self._numbers)}",
            text=post.text,
            created_at=moment,
            lang="en",
            author_username=post.author,
            stream_ids=frozenset({stream.pk}),
        )


def seed() -> Stories:
    """Everything that the pages show, up to now; the stories go on from there."""
    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    stories, now = Stories(), timezone.now()
    for (hours, count), (until, _) in itertools.pairwise([*DAY, (0, 0)]):
        begin, end = now - timedelta(hours=hours), now - timedelta(hours=until)
        with time_machine.travel(end, tick=True):
            stored = store(stories.posts(_moments(begin, end, count)), announce=False)
            classify.classify_posts(stored.post_ids)
            quality.build_report(scheme)
    _sources(now)
    _labels(scheme)
    truth.fill_in_truth(scheme)
    seconds = (timezone.now() - now).total_seconds()
    late = [now + timedelta(seconds=at) for at in range(1, int(seconds), int(PAUSE_SECONDS))]
    classify.classify_posts(store(stories.posts(late), announce=False).post_ids)
    return stories


def _moments(begin: datetime, end: datetime, count: int) -> list[datetime]:
    """Crowds come in waves, more of them towards the end."""
    chance = random.Random(count)
    places = sorted(chance.betavariate(1.6, 1.1) ** 0.9 for _ in range(count))
    return [begin + (end - begin) * place for place in places]


def age_models() -> None:
    """As if the models had been trained over the last days, not a moment ago."""
    for number, days in ((1, 6), (2, 3), (3, 1)):
        for rows, names in (
            (TrainingRun.objects.filter(version__version=number), RUN_TIMES),
            (ModelVersion.objects.filter(version=number), ("created_at", "promoted_at")),
            (Promotion.objects.filter(version__version=number), ("promoted_at",)),
        ):
            rows.update(**{name: F(name) - timedelta(days=days) for name in names})


def _sources(now: datetime) -> None:
    """Connections, an outage that was made good, a budget, an alert."""
    for source, received in zip(dict.fromkeys(SOURCES), (8412, 51_306, 2954, 388), strict=True):
        Connection.objects.create(
            source=source,
            status="connected",
            lease_owner="stream-1",
            lease_expires_at=now + timedelta(days=1),
            connected_at=now - timedelta(hours=9),
            last_event_at=now,
            covered_until=now,
            received=received,
            saved=received - received // 90,
            duplicates=received // 90,
        )
    Gap.objects.create(
        source=Source.X,
        started_at=now - timedelta(minutes=34),
        ended_at=now - timedelta(minutes=30),
        cause="network",
        state="filled",
        recovered=47,
        expected=47,
        filled_by="recent search",
    )
    month = now.date().replace(day=1)
    MonthlyUsage.objects.create(source=Source.X, month=month, posts_read=31_240, budget=40_000)
    Alert.objects.create(
        kind="budget",
        key="x",
        message="78 % of this month's 40,000 posts of X are read",
        raised_at=now - timedelta(hours=30),
        closed_at=now - timedelta(hours=29),
        closing_message="the forecast is within the budget again",
    )


def _labels(scheme: LabelScheme) -> None:
    """Three people label what they are asked; each errs a little, in a way of their own."""
    truth = _truths(scheme)
    for name, errs, count in PEOPLE:
        person, is_new = User.objects.get_or_create(username=name)
        if is_new:
            person.groups.set(Group.objects.filter(name="annotator"))
        chance = random.Random(name)
        for seat in _asked(person, scheme, count):
            if chance.random() < 0.03:
                annotate.flag(seat.post, scheme, annotator=person, seconds=6.0)
                continue
            said = truth(seat.post_id, chance, errs)
            annotate.annotate(
                seat.post, said, annotator=person, seconds=round(chance.lognormvariate(1.5, 0.4), 1)
            )
    spread = list(Annotation.objects.order_by("pk"))
    for place, label in enumerate(spread):
        label.created_at = timezone.now() - timedelta(minutes=2.5 * (len(spread) - place))
    Annotation.objects.bulk_update(spread, ["created_at"])


def _asked(person: User, scheme: LabelScheme, count: int) -> Iterator[Assignment]:
    for _ in range(0, count, 10):
        yield from draw(person, scheme, count=10)


def _truths(scheme: LabelScheme) -> Callable[[int, random.Random, float], Category]:
    """What a post says in fact: what the model thinks, where it is sure."""
    categories = list(scheme.categories.all())
    judged = dict(
        Prediction.objects.serving().filter(scheme=scheme).values_list("post_id", "category_id")
    )

    def said(post_id: int, chance: random.Random, errs: float) -> Category:
        if chance.random() < errs:
            return chance.choice(categories)
        # Where the model errs is the post's own, so that people agree on it.
        if random.Random(post_id).random() < 0.15:
            return categories[post_id % len(categories)]
        return next(one for one in categories if one.pk == judged[post_id])

    return said
