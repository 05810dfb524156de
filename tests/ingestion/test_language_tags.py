"""Languages are written one way, whatever a source calls them."""

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from ingestion import selectors
from ingestion.language_tags import normalised, primary
from ingestion.models import Post
from ingestion.services import store
from tests.ingestion.factories import incoming


@pytest.mark.parametrize(
    ("told", "tag"),
    [
        ("en", "en"),
        ("en-US", "en-us"),
        (" pt_BR ", "pt-br"),
        ("es-419", "es-419"),
        ("zh-Hant-TW", "zh-hant-tw"),
        ("de-Latn-1996-x-private", "de-latn-1996-x"),
        ("", ""),
        ("e", ""),
        ("419", ""),
        ("en-", ""),
        ("English (US)", ""),
        ("en\x00", ""),
        ("\ud800", ""),
    ],
)
def test_a_tag_is_written_one_way(told: str, tag: str) -> None:
    assert normalised(told) == incoming(lang=told).lang == tag
    assert normalised(tag) == tag
    assert primary(told) == tag.partition("-")[0]


@pytest.mark.django_db
def test_posts_of_a_language_s_regions_are_its_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    store([incoming(lang=lang) for lang in ("en", "en-US", "en_GB", "eng", "es-419", "")])
    assert selectors.language_tags(["EN"]) == ["en", "en-gb", "en-us"]
    assert selectors.language_tags(["es", "en-us"]) == ["en-us", "es", "es-419"]
    assert selectors.language_tags(["es-419", "?"]) == ["es-419"]
    assert selectors.language_tags(["?", ""]) == []
    # As an older release stores them, beside the present one for a while.
    Post.objects.filter(lang="en-us").update(lang="en-US")
    assert selectors.language_tags(["en-us"]) == ["en-US", "en-us"]
    assert selectors.language_tags(["en"]) == ["en", "en-US", "en-gb"]
    # What is asked for by its whole name is found however many there are.
    monkeypatch.setattr(selectors, "MOST_TAGS", 1)
    assert selectors.language_tags(["es-419"]) == ["es-419"]


@pytest.mark.django_db
def test_stored_languages_are_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    migration = import_module("ingestion.migrations.0010_language_tags")
    monkeypatch.setattr(migration, "CHUNK", 2)
    told = ["en-US"] * 5 + ["en", "pt_BR", "ES-419", "", "English (US)"]
    posts = [incoming(external_id=str(number)) for number in range(len(told))]
    store(posts)
    for number, lang in enumerate(told):
        Post.objects.filter(external_id=number).update(lang=lang)
    for _ in range(2):
        migration.normalise(apps, connection.SchemaEditorClass(connection))
        found = dict(Post.objects.values_list("external_id", "lang"))
        assert [found[str(number)] for number in range(len(told))] == (
            ["en-us"] * 5 + ["en", "pt-br", "es-419", "", ""]
        )
