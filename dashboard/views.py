"""Pages."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from dashboard import presenters, selectors, state
from dashboard.access import may_watch
from dashboard.selectors import RANGES
from ingestion.selectors import source_states


@require_safe
@ensure_csrf_cookie
def home(request: HttpRequest) -> HttpResponse:
    """The live page. `?range=` and `?stream=` choose what it shows."""
    if not may_watch(request.user):
        return redirect_to_login(request.get_full_path())
    view = selectors.view_of(request.GET)
    categories, streams = selectors.categories(), selectors.streams()
    states = source_states()
    context: dict[str, Any] = {
        "view": view,
        "ranges": RANGES,
        "streams": streams,
        "categories": categories,
        "model": selectors.serving_model(),
        "page": {
            "view": presenters.present(view),
            "posts": selectors.newest_posts(view),
            "gaps": state.gaps(view),
            "sources": state.sources(states),
            "alerts": state.standing_alerts(states),
            "training": state.training(),
            "categories": [
                {"key": c.key, "name": c.name, "color": c.color, "polarity": c.polarity}
                for c in categories
            ],
            "streams": {stream.pk: stream.name for stream in streams},
        },
    }
    return render(request, "dashboard/home.html", context)


@require_safe
def data(request: HttpRequest) -> HttpResponse:
    """The view's numbers as JSON: what the page asks for to bring its words up to date."""
    if not may_watch(request.user):
        return JsonResponse({"title": "Sign in first", "status": 401}, status=401)
    return JsonResponse(presenters.present(selectors.view_of(request.GET)))
