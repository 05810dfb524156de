"""The documented client, against the site."""

import importlib.util
import sys
import threading
from itertools import repeat
from pathlib import Path
from types import ModuleType

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from pytest_django.fixtures import Settings

from api import tokens
from ingestion.models import Post
from modeling.models import ModelVersion
from tests.conftest import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def documented() -> ModuleType:
    path = Path(django_settings.BASE_DIR, "docs", "client.py")
    spec = importlib.util.spec_from_file_location("documented_client", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_documented_client_works(
    documented: ModuleType, champion: ModelVersion, live_site: str, settings: Settings
) -> None:
    settings.API_REQUIRE_AUTH = True
    _, secret = tokens.issue("client", ["read", "predict"], days=1)
    client = documented.Client(live_site, token=secret)
    assert client.predict("the food wonderful today").label == "positive"
    batch = client.predict_batch(["the food awful today", "the food wonderful today"])
    assert [item.label for item in batch] == ["negative", "positive"]

    texts = ["the food awful today", "", "the food wonderful today"] * 400
    answers = list(client.predict_stream(iter(texts)))
    assert len(answers) == 1200
    assert answers[0].label == "negative" and "empty" in str(answers[1])

    now = timezone.now()
    Post.objects.bulk_create(
        Post(source="x", external_id=str(n), text="a", created_at=now) for n in range(7)
    )
    assert len(list(client.list("posts", source="x", limit=3))) == 7

    with pytest.raises(documented.Problem, match="empty") as refused:
        client.predict(" ")
    assert refused.value.status == 400 and refused.value.errors[0]["field"] == "text"
    with pytest.raises(documented.Problem) as refused:
        next(documented.Client(live_site).predict_stream(["a"]))
    assert refused.value.status == 401


def test_who_reads_no_further_lets_go_of_the_connection(
    documented: ModuleType, champion: ModelVersion, live_site: str, settings: Settings
) -> None:
    settings.API_REQUIRE_AUTH = False

    def senders() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if "(send)" in thread.name]

    stream = documented.Client(live_site).predict_stream(repeat("the food wonderful today"))
    assert next(stream).label == "positive"
    assert senders()
    stream.close()
    wait_until(lambda: not senders())
