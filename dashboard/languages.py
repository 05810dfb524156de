"""The language of what is no request: a viewer's websocket. And the words that scripts show."""

from __future__ import annotations

import hashlib
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import formats, translation
from django.utils.cache import patch_cache_control
from django.utils.translation import pgettext
from django.views.i18n import JavaScriptCatalog


def number(value: float, digits: int = 0) -> str:
    """As the language writes numbers, thousands apart."""
    return formats.number_format(round(value, digits), digits, use_l10n=True, force_grouping=True)


def per_cent(share: float, digits: int = 0) -> str:
    """A share of 0 to 1 as per cent."""
    return pgettext("share", "%(number)s%%") % {"number": number(100 * share, digits)}


def per_cent_sign() -> str:
    """What stands behind a number of per cent, for charts that write the number themselves."""
    return per_cent(0).replace(number(0), "", 1)


YEAR = 365 * 24 * 3600


def language_of(scope: dict[str, Any]) -> str:
    """As `LocaleMiddleware` would choose for a page that the same browser asks for."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = headers.get(b"accept-language", "")
    try:
        cookies = SimpleCookie(headers.get(b"cookie", ""))
    except CookieError:
        # As Django reads it: what is no cookie names no language.
        cookies = SimpleCookie()
    request.COOKIES = {name: morsel.value for name, morsel in cookies.items()}
    return translation.get_language_from_request(request)


@cache
def catalog_version(language: str) -> str:
    """Changes with the language's words, for an address that browsers may keep."""
    digest = hashlib.sha256()
    for folder in settings.LOCALE_PATHS:
        path = Path(folder) / language / "LC_MESSAGES" / "djangojs.mo"
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()[:12]


class Catalog(JavaScriptCatalog):
    """The scripts' words in the language that the address names: the same for everyone."""

    domain = "djangojs"
    packages = ["sentiment_site"]

    def get(
        self, request: HttpRequest, *args: Any, language: str, version: str, **kwargs: Any
    ) -> HttpResponse:
        if language not in dict(settings.LANGUAGES):
            raise Http404(f"There are no words in {language}.")
        with translation.override(language):
            answer = super().get(request, *args, **kwargs)
        if version == catalog_version(language):
            patch_cache_control(answer, public=True, max_age=YEAR, immutable=True)
        else:
            patch_cache_control(answer, no_cache=True)
        return answer
