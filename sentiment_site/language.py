"""Which language a page is in: the viewer's choice, else the browser's; the API is English."""

from __future__ import annotations

import re

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

# What programs read: its errors and fields are the same for everyone.
API = re.compile(r"^/(predict|retrain|model|data|health|metrics|schema|docs|api)(/|$)")


class PageLanguage(LocaleMiddleware):
    """Django's, for pages alone: answers of the API neither change with a language nor vary by
    one."""

    def process_request(self, request: HttpRequest) -> None:
        if API.match(request.path_info):
            translation.activate(settings.LANGUAGE_CODE)
            request.LANGUAGE_CODE = settings.LANGUAGE_CODE
        else:
            super().process_request(request)

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if API.match(request.path_info):
            return response
        return super().process_response(request, response)
