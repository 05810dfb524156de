"""What a view counts, and the page that shows it."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.utils import timezone

from dashboard import figures, presenters, selectors, summary
from dashboard.events import TermEvent
from modeling.models import ModelVersion
from modeling.services import classify
from tests.dashboard.factories import make_post, make_stream

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html"}


def judge(*texts: str, **fields: object) -> None:
    posts = [make_post(text, **fields) for text in texts]  # type: ignore[arg-type]
    classify.classify_posts([post.pk for post in posts])


def test_totals_timeline_and_rows_agree(champion: ModelVersion) -> None:
    now = timezone.now()
    for minutes in range(0, 50, 3):
        judge(
            "the game wonderful today", "the game awful today", at=now - timedelta(minutes=minutes)
        )
    view = selectors.make_view("1h")
    totals, series = selectors.totals(view), selectors.timeline(view)
    assert totals == {"positive": 17, "negative": 17}
    assert {key: sum(counts) for key, counts in series["counts"].items()} == {
        **totals,
        "neutral": 0,
    }
    assert len(series["bins"]) == len(series["counts"]["neutral"])


@pytest.mark.parametrize(("range_key", "expected"), [("15m", 1), ("1h", 2), ("24h", 3), ("all", 4)])
def test_a_range_holds_its_posts(champion: ModelVersion, range_key: str, expected: int) -> None:
    for age in (1, 40, 600, 60 * 24 * 90):
        judge("the game awful today", at=timezone.now() - timedelta(minutes=age))
    assert sum(selectors.totals(selectors.make_view(range_key)).values()) == expected


def test_old_posts_are_shown_without_being_asked_for(champion: ModelVersion) -> None:
    judge("the game awful today", at=datetime(2015, 2, 24, 11, 35, tzinfo=UTC))
    view = selectors.make_view()
    assert view.range_key == "all" and view.end.year == 2015
    assert selectors.totals(view) == {"negative": 1}


def test_a_chart_has_at_most_a_hundred_bins_whatever_the_span(champion: ModelVersion) -> None:
    for days in (0, 400, 3000):
        judge("the game awful today", at=timezone.now() - timedelta(days=days))
    series = selectors.timeline(selectors.make_view("all"))
    assert len(series["bins"]) <= 102
    assert sum(series["counts"]["negative"]) == 3


def test_a_stream_shows_its_own_posts(champion: ModelVersion) -> None:
    stream = make_stream()
    judge("the game awful today", streams=[stream])
    judge("the game wonderful today")
    view = selectors.make_view("1h", [stream.pk])
    assert selectors.totals(view) == {"negative": 1}
    assert [post["category"] for post in selectors.newest_posts(view)] == ["negative"]


def test_a_deleted_post_is_not_shown(champion: ModelVersion) -> None:
    post = make_post()
    classify.classify_posts([post.pk])
    post.text, post.deleted_at = "", timezone.now()
    post.save()
    assert selectors.newest_posts(selectors.make_view("1h")) == []


@pytest.mark.parametrize(
    ("net", "mood"),
    [
        (None, "no posts yet"),
        (-1, "very negative"),
        (-0.2, "mostly negative"),
        (0, "mixed"),
        (1, "very positive"),
    ],
)
def test_the_mood_has_a_name(net: float | None, mood: str) -> None:
    assert summary.mood(net) == mood


def test_the_headline_says_how_many_and_about_what() -> None:
    words = [TermEvent(word=word, count=3, z=2.0) for word in ("luggage", "delay")]
    terms = {"negative": words}
    line = summary.headline({"negative": 3, "positive": 1}, -0.5, terms)
    assert line == (
        "The mood is very negative: 75% of 4 posts are negative, about “luggage” and “delay”."
    )
    assert summary.headline({}, None, {}) == "Waiting for the first posts."


def test_the_figure_is_plain_json(champion: ModelVersion) -> None:
    judge("the game awful today")
    series = selectors.timeline(selectors.make_view("1h"))
    figure = figures.timeline(series, selectors.categories())
    assert [trace["meta"] for trace in json.loads(json.dumps(figure))["data"]] == [
        "negative",
        "neutral",
        "positive",
    ]


def test_the_page_carries_its_numbers_and_no_other_host(
    client: Client, champion: ModelVersion
) -> None:
    judge("the game awful today")
    page = client.get("/", headers=HTML).content.decode()
    assert "100% of 1 post is negative" in page
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)


def test_an_empty_installation_has_a_page(client: Client) -> None:
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert "Waiting for the first posts." in page.content.decode()


class Scripts(HTMLParser):
    """Counts elements that a post could smuggle in."""

    def __init__(self) -> None:
        super().__init__()
        self.smuggled = 0

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.smuggled += tag == "img" and "onerror" in dict(attributes)  # type: ignore[call-overload]


def test_a_post_cannot_bring_markup_along(client: Client, champion: ModelVersion) -> None:
    judge("</script><img src=x onerror=alert(1)> the game awful today")
    parser = Scripts()
    parser.feed(client.get("/", headers=HTML).content.decode())
    assert parser.smuggled == 0


@pytest.mark.parametrize(
    "query", ["range=nonsense", "stream=abc", f"stream={'9' * 30}", "stream=-1"]
)
def test_a_url_that_means_nothing_still_has_a_page(client: Client, query: str) -> None:
    assert client.get(f"/?{query}", headers=HTML).status_code == 200


def test_the_page_asks_few_queries_however_many_posts(
    client: Client, champion: ModelVersion, django_assert_max_num_queries: Callable
) -> None:
    stream = make_stream()
    judge(*["the game awful today"] * 40, streams=[stream], lang="en")
    with django_assert_max_num_queries(12) as asked:
        client.get(f"/?range=1h&stream={stream.pk}&lang=en&q=game", headers=HTML)
    assert len(asked) > 5
    with django_assert_max_num_queries(8):
        client.get("/", headers=HTML)


def test_data_is_the_same_view_as_json(client: Client, champion: ModelVersion) -> None:
    judge("the game awful today")
    data = client.get("/live/data/?range=1h").json()
    assert data["totals"] == {"negative": 1}
    assert set(data) == {*presenters.present(selectors.make_view("1h")), "posts"}
