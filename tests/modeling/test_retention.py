"""What is too old goes; labels, charts and what is young stay."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from dashboard.models import SentimentBucket
from ingestion.models import DeadLetter, Post, Pruning
from ingestion.services import store
from modeling.models import Category, ModelVersion, Prediction
from modeling.services import retention
from modeling.services.annotate import annotate
from modeling.services.classify import classify_pending
from tests.ingestion.factories import incoming

pytestmark = pytest.mark.django_db


def test_old_posts_go_and_labelled_ones_stay(
    champion: ModelVersion, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 3)
    long_ago = timezone.now() - timedelta(days=100)
    store([incoming(text="old", received_at=long_ago) for _ in range(8)])
    store([incoming(text="young") for _ in range(2)])
    classify_pending()
    first = Post.objects.filter(text="old")[0]
    annotate(first, Category.objects.get(key="positive"), annotator=admin_user)
    DeadLetter.objects.create(source="x", reason="bad", excerpt=b"{", size=1)
    DeadLetter.objects.update(received_at=long_ago)
    counted = charted()

    def run(*arguments: str) -> dict[str, int]:
        out = StringIO()
        call_command("prune", "--older-than", "90", "--json", *arguments, stdout=out)
        result: dict[str, int] = json.loads(out.getvalue())
        return result

    told = {"posts": 7, "dead_letters": 1, "labelled": 1}
    assert run("--dry-run") == told and Post.objects.count() == 10
    assert run() == told
    assert sorted(Post.objects.values_list("text", flat=True)) == ["old", "young", "young"]
    assert Prediction.objects.count() == 3 and not DeadLetter.objects.exists()
    assert charted() == counted
    assert run("--labelled-too") == {"posts": 1, "dead_letters": 0, "labelled": 0}


def charted() -> int:
    return sum(SentimentBucket.objects.values_list("count", flat=True))


def test_charts_keep_the_numbers_of_pruned_days_unless_told_otherwise(
    champion: ModelVersion,
) -> None:
    now = timezone.now()
    long_ago = now - timedelta(days=100)
    for at, count in ((long_ago, 3), (now - timedelta(days=95), 2), (now, 2)):
        store([incoming(received_at=at, created_at=at) for _ in range(count)])
    classify_pending()
    call_command("prune", "--older-than", "97", verbosity=0)
    told = Pruning.objects.get()
    assert (told.posts, told.oldest, told.newest) == (3, long_ago, long_ago)
    # What differs on days that are whole is mended.
    SentimentBucket.objects.filter(minute__gt=now - timedelta(days=96)).update(count=50)
    out = StringIO()
    call_command("rebuild_buckets", stdout=out)
    assert charted() == 7 and "1 days were left" in out.getvalue()
    call_command("rebuild_buckets", "--check", stdout=StringIO())
    call_command("rebuild_buckets", "--pruned-too", stdout=out)
    assert charted() == 4


def test_a_day_is_the_least() -> None:
    with pytest.raises(CommandError, match="1 to 36500 days"):
        call_command("prune", "--older-than", "0")
