"""What the address asks for: streams, languages, sentiments and words; and what a view shows
beside its counts."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from urllib.parse import quote

import pytest
import time_machine
from django.http import QueryDict
from django.test import Client
from pytest_django.fixtures import Settings

from dashboard import presenters, selectors
from dashboard.selectors import View, Wanted, make_view, view_of
from modeling.models import LabelScheme, ModelVersion, Promotion
from tests.dashboard.factories import judged, make_stream, serving_version

NOW = datetime(2026, 3, 1, 12, 7, 41, tzinfo=UTC)
HTML = {"Accept": "text/html"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def asked(query: str) -> View:
    return view_of(QueryDict(query))


def counted(query: str) -> dict[str, int]:
    return selectors.totals(asked(query))


def texts(query: str) -> list[str]:
    return [post["text"] for post in selectors.newest_posts(asked(query))]


def test_the_address_says_what_is_wanted() -> None:
    view = asked(
        "range=6h&stream=4&stream=9&stream=4&lang=EN&lang=pt-br&category=negative&q= a  b "
    )
    assert view.range_key == "6h"
    assert view.wanted == Wanted((4, 9), ("en", "pt-br"), ("negative",), "a b")


@pytest.mark.parametrize(
    "query",
    ["stream=x&stream=-1&lang=1&lang=%00", f"stream={'9' * 40}", "q=%00%20", "lang=", "category="],
)
def test_values_that_mean_nothing_are_left_out(query: str) -> None:
    wanted = asked(query).wanted
    assert (wanted.streams, wanted.languages, wanted.words) == ((), (), "")


def test_what_is_asked_for_is_bounded() -> None:
    many = "&".join(f"stream={n}&lang=a{chr(97 + n % 26)}{n // 26 * 'x'}" for n in range(1, 200))
    wanted = asked(f"{many}&q={'word ' * 999}").wanted
    assert len(wanted.streams) == 20 and len(wanted.languages) <= 20 and len(wanted.words) <= 100
    assert counted(f"{many}&q={'word ' * 999}") == {}


def test_several_streams_are_shown_together() -> None:
    one, two, three = (make_stream(name) for name in ("one", "two", "three"))
    judged("the first", streams=[one])
    judged("the second", streams=[two], category="negative")
    judged("the third", streams=[three])
    query = f"range=1h&stream={one.pk}&stream={two.pk}"
    assert counted(query) == {"positive": 1, "negative": 1}
    assert texts(query) == ["the second", "the first"]


@pytest.mark.parametrize("range_key", ["1h", "24h", "30d"])
def test_languages_and_words_are_counted_from_the_posts(range_key: str) -> None:
    stream = make_stream()
    judged("the train is late", lang="en", category="negative", streams=[stream])
    judged("the TRAIN is on time", lang="en")
    judged("der Zug hat train gesagt", lang="de")
    judged("the bus", lang="en")
    assert counted(f"range={range_key}&lang=en") == {"negative": 1, "positive": 2}
    assert counted(f"range={range_key}&q=train") == {"negative": 1, "positive": 2}
    assert counted(f"range={range_key}&q=train+time&lang=en") == {"positive": 1}
    assert counted(f"range={range_key}&q=train&stream={stream.pk}") == {"negative": 1}
    assert texts(f"range={range_key}&lang=de") == ["der Zug hat train gesagt"]


def test_a_language_is_counted_with_its_regions_and_offered_once() -> None:
    for lang, category in (("en", "positive"), ("en-us", "negative"), ("es-419", "neutral")):
        judged("the train", lang=lang, category=category)
    judged("the train", lang="")
    assert counted("range=1h&lang=en") == {"negative": 1, "positive": 1}
    assert counted("range=1h&lang=en-US") == counted("range=1h&lang=en_us") == {"negative": 1}
    assert counted("range=1h&lang=es-419") == counted("range=1h&lang=es") == {"neutral": 1}
    assert counted("range=1h&lang=fr") == {}
    told = presenters.present_details(asked("range=1h&lang=ES-419&lang=en"))
    assert told["choices"]["languages"] == ["en", "es", "es-419"]
    # What is offered finds what is told beside it.
    told = presenters.present_details(asked("range=1h"))
    for group in told["languages"]:
        if group["name"] != "unknown":
            assert counted(f"range=1h&lang={group['name']}") == group["counts"]
    assert {group["name"] for group in told["languages"]} == {"en", "es", "unknown"}


def test_words_are_words_and_no_patterns() -> None:
    judged("a discount of 50% today")
    judged("a discount of 50 today")
    assert texts(f"range=1h&q={quote('50%')}")[0] in {
        "a discount of 50% today",
        "a discount of 50 today",
    }
    assert counted("range=1h&q=d_scount") == {}


def test_a_reading_of_the_newest_posts_alone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors.posts, "SCANNED", 3)
    monkeypatch.setattr(selectors.counts, "SCANNED", 3)
    for minutes in range(5):
        judged("the train", lang="en", at=NOW - timedelta(minutes=minutes))
    shown = presenters.present(asked("range=1h&q=train"))
    assert shown["totals"] == {"positive": 3}
    since = (NOW - timedelta(minutes=2)).isoformat()
    assert shown["sample"] == {"posts": 3, "since": since}
    assert presenters.present(asked("range=1h"))["sample"] is None
    assert presenters.present(asked("range=15m&lang=fr"))["sample"] is None


def test_categories_narrow_the_lists_but_not_the_shares() -> None:
    judged("the good", category="positive")
    judged("the bad", category="negative")
    shown, posts = presenters.present_with_posts(asked("range=1h&category=negative"))
    assert shown["totals"] == {"positive": 1, "negative": 1} and shown["shown"] == ["negative"]
    assert [post["text"] for post in posts] == ["the bad"]


def test_the_page_s_form_says_what_the_address_says(client: Client) -> None:
    stream = make_stream("trains & buses")
    page = client.get(f"/?range=1h&stream={stream.pk}&lang=en&q=%22late%22", headers=HTML)
    html = page.content.decode()
    assert f'name="stream" value="{stream.pk}" checked' in html and "trains &amp; buses" in html
    assert 'name="lang" value="en" checked' in html
    assert 'name="q" id="q" value="&quot;late&quot;"' in html


def test_the_csv_file_holds_the_chart_s_bins(client: Client) -> None:
    for _ in range(3):
        judged(category="positive")
    judged(category="negative")
    answer = client.get("/live/bins.csv?range=15m")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert 'filename="sentiment-15m-20260301T1207Z.csv"' in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(StringIO(answer.content.decode())))
    assert len(rows) == 16
    assert rows[-1] == {
        "start": "2026-03-01T12:07:00+00:00",
        "negative": "1",
        "neutral": "0",
        "positive": "3",
        "total": "4",
        "net_sentiment": "0.5000",
        "net_low": "-0.1524",
        "net_high": "1.0000",
    }
    assert rows[0]["net_sentiment"] == rows[0]["net_low"] == ""


def test_the_band_narrows_with_the_posts_and_holds_the_mean() -> None:
    categories = selectors.categories()
    widths = []
    for times in (1, 10, 100, 1000):
        band = selectors.net_band({"positive": 3 * times, "negative": times}, categories)
        assert band is not None
        mean, low, high = band
        assert -1 <= low <= mean <= high <= 1 and mean == 0.5
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert selectors.net_band({}, categories) is None


def test_details_set_groups_side_by_side(client: Client) -> None:
    one, two = make_stream("one"), make_stream("two")
    judged("#Late again 😡 #late", category="negative", lang="en", streams=[one, two])
    judged("so #late 😡😡 https://example.org/#top", category="negative", lang="de", streams=[one])
    judged("lovely 🎉 #1 &#39;", lang="en")
    told = client.get("/live/details/?range=1h").json()
    assert told["streams"] == [
        {"name": "one", "counts": {"negative": 2}},
        {"name": "two", "counts": {"negative": 1}},
    ]
    assert told["languages"][0] == {"name": "en", "counts": {"negative": 1, "positive": 1}}
    assert [group["name"] for group in told["sources"]] == ["File"]
    assert told["hashtags"] == [{"name": "#late", "counts": {"negative": 2}}]
    assert told["emoji"][0] == {"name": "😡", "counts": {"negative": 2}}
    assert told["confidence"]["negative"][9] == 2 and told["sampled"] == 3
    assert told["choices"]["languages"] == ["en", "de"]


@pytest.mark.parametrize("range_key", ["1h", "30d"])
def test_streams_are_counted_of_what_the_view_asks_for(range_key: str) -> None:
    one, two = make_stream("one"), make_stream("two")
    judged("a refund please", lang="en", category="negative", streams=[one])
    judged("the refund came", lang="en", streams=[one, two])
    for _ in range(3):
        judged("hello there", lang="de", category="neutral", streams=[two])
    judged("a refund of nobody's", lang="de")

    def groups(query: str) -> dict[str, dict[str, int]]:
        told = presenters.present_details(asked(f"range={range_key}&{query}"))
        return {group["name"]: group["counts"] for group in told["streams"]}

    expected = {"one": {"negative": 1, "positive": 1}, "two": {"positive": 1}}
    assert groups("q=refund") == groups("lang=en") == expected
    assert groups("lang=de") == {"two": {"neutral": 3}}
    assert groups(f"lang=en&stream={two.pk}") == {"two": {"positive": 1}}
    assert groups("q=nothing") == {}
    assert groups("") == {**expected, "two": {"positive": 1, "neutral": 3}}
    for stream in (one, two):
        query = f"q=refund&stream={stream.pk}"
        assert groups(query)[stream.name] == counted(f"range={range_key}&{query}")


def test_details_tell_of_promotions_in_the_view(client: Client) -> None:
    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    version = serving_version()
    for hours in (0.5, 30):
        Promotion.objects.create(
            scheme=scheme,
            version=version,
            reason="better",
            promoted_at=NOW - timedelta(hours=hours),
        )
    (mark,) = client.get("/live/details/?range=6h").json()["promotions"]
    at = (NOW - timedelta(minutes=30)).isoformat()
    assert mark == {"at": at, "version": "7", "reason": "better"}


def test_a_bin_s_posts_are_told(client: Client) -> None:
    judged("before", at=NOW - timedelta(minutes=1))
    judged("within", at=NOW)
    judged("within but bad", at=NOW, category="negative")
    answer = client.get("/live/posts/?range=15m&category=positive&at=2026-03-01T12:07:00Z")
    assert [post["text"] for post in answer.json()["posts"]] == ["within"]


@pytest.mark.parametrize("at", ["", "never", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00-23:00"])
def test_a_bin_that_is_none_is_not_found(client: Client, at: str) -> None:
    assert client.get("/live/posts/", {"at": at}).status_code == 404


@pytest.mark.parametrize("path", ["data/", "details/", "bins.csv", "posts/", "why/1/"])
def test_whoever_may_not_watch_is_told_to_sign_in(
    client: Client, settings: Settings, path: str
) -> None:
    settings.API_REQUIRE_AUTH = True
    assert client.get(f"/live/{path}").status_code == 401


def test_a_post_s_judgement_is_explained(client: Client, champion: ModelVersion) -> None:
    post = judged("the food awful today", category="negative")
    told = client.get(f"/live/why/{post.pk}/").json()
    assert (told["category"], told["version"]) == ("negative", "1")
    words = [post.text[word["start"] : word["end"]] for word in told["words"]]
    assert words == ["the", "food", "awful", "today"]
    weights = {word: told["words"][index]["weight"] for index, word in enumerate(words)}
    assert weights["awful"] > 0 and weights["awful"] > weights["the"]


def test_what_cannot_be_explained_is_said(client: Client) -> None:
    post = judged()
    version = ModelVersion.objects.get()
    version.stage = ModelVersion.Stage.ARCHIVED
    version.save()
    answer = client.get(f"/live/why/{post.pk}/")
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
    assert answer.json()["detail"]
    assert client.get("/live/why/4711/").status_code == 404
    post.text, post.deleted_at = "", NOW
    post.save()
    assert client.get(f"/live/why/{post.pk}/").status_code == 404


@pytest.mark.parametrize("query", ["", "range=all", "range=30d&q=game&lang=en"])
def test_what_the_page_asks_for_later_is_bounded_too(
    client: Client, django_assert_max_num_queries: Callable, query: str
) -> None:
    for _ in range(20):
        judged("the game", lang="en", streams=[make_stream(str(_))])
    # Languages are looked up once, and so are the streams of the posts that are read.
    more = 1 if "lang=" in query else 0
    for path, most in (("data/", 6 + more), ("details/", 6 + 2 * more), ("bins.csv", 4 + more)):
        with django_assert_max_num_queries(most):
            assert client.get(f"/live/{path}?{query}").status_code == 200


def test_a_year_is_charted_from_days(client: Client) -> None:
    for days in range(0, 360, 7):
        judged("the game", at=NOW - timedelta(days=days))
    view = make_view("all")
    assert view.bin_seconds == 7 * 86400
    assert selectors.totals(view) == {"positive": 52}
