"""Where a page finds its scripts' words, and which languages it offers."""

from __future__ import annotations

from django import template
from django.conf import settings
from django.urls import reverse
from django.utils import translation

from dashboard.languages import catalog_version

register = template.Library()


def _language() -> str:
    return translation.get_language() or settings.LANGUAGE_CODE


@register.simple_tag
def catalog_address() -> str:
    """The scripts' words in the page's language."""
    language = _language()
    known = language if language in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
    return reverse("script-words", args=[known, catalog_version(known)])


@register.simple_tag
def offered_languages() -> list[tuple[str, str]]:
    """Code and own name of each language."""
    return list(settings.LANGUAGES)
