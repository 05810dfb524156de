"""The live page, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateparse import parse_datetime
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from dashboard import explanations, presenters, selectors, state
from dashboard.access import may_watch
from dashboard.selectors import RANGES, Against, NotComparable
from ingestion.models import Post
from modeling.exceptions import ModelingError

RETRY_SECONDS = 1


@require_safe
@ensure_csrf_cookie
def home(request: HttpRequest) -> HttpResponse:
    """The live page; its address says what it shows (`selectors.view_of`).

    How sources and trainings fare comes with the websocket's first message.
    """
    if not may_watch(request.user):
        return redirect_to_login(request.get_full_path())
    view = selectors.view_of(request.GET)
    shown, posts = presenters.present_with_posts(view)
    streams = selectors.streams()
    against, problem = _against(request, view)
    context: dict[str, Any] = {
        "view": view,
        "ranges": RANGES,
        "streams": streams,
        "categories": view.categories,
        "model": selectors.serving_model(),
        "against": against,
        "problem": problem,
        "asked": {name: request.GET.get(name, "") for name in ("against", "since")},
        "page": {
            "is_compared": against is not None,
            "view": shown,
            "posts": posts,
            "gaps": state.gaps(view),
            "categories": [
                {"key": c.key, "name": c.title, "color": c.color, "polarity": c.polarity}
                for c in view.categories
            ],
            "streams": {stream.pk: stream.name for stream in streams},
        },
    }
    return render(request, "dashboard/home.html", context)


def _against(request: HttpRequest, view: selectors.View) -> tuple[Against | None, str]:
    """What the address holds the view against, or why it is none."""
    try:
        return selectors.against_of(request.GET, view), ""
    except NotComparable as error:
        return None, str(error)


def _refusal(problem: str) -> JsonResponse:
    told = {"title": "Nothing to compare", "status": 400, "detail": problem}
    return JsonResponse(told, status=400)


def _for_watchers(answer: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @require_safe
    @wraps(answer)
    def answered(request: HttpRequest, **arguments: Any) -> HttpResponse:
        if not may_watch(request.user):
            return JsonResponse({"title": "Sign in first", "status": 401}, status=401)
        return answer(request, **arguments)

    return answered


@_for_watchers
def data(request: HttpRequest) -> HttpResponse:
    """The view's numbers and newest posts: what the page asks for to bring itself up to date."""
    shown, posts = presenters.present_with_posts(selectors.view_of(request.GET))
    return JsonResponse({**shown, "posts": posts})


@_for_watchers
def details(request: HttpRequest) -> HttpResponse:
    """Shares side by side, tags, confidence and promotions of the view."""
    return JsonResponse(presenters.present_details(selectors.view_of(request.GET)))


@_for_watchers
def compare(request: HttpRequest) -> HttpResponse:
    """The view beside what `against` names; 400 where that is nothing to compare with."""
    view = selectors.view_of(request.GET)
    against, problem = _against(request, view)
    if against is None:
        return _refusal(problem or "Name a stream, “before” or “since” with `against`.")
    return JsonResponse(presenters.present_comparison(view, against))


@_for_watchers
def bins(request: HttpRequest) -> HttpResponse:
    """The chart's bins as a CSV file, beside those of a comparison."""
    view = selectors.view_of(request.GET)
    against, problem = _against(request, view)
    if problem:
        return _refusal(problem)
    lines = presenters.as_csv(view, against)
    answer = HttpResponse("".join(lines), content_type="text/csv; charset=utf-8")
    name = f"sentiment-{view.range_key}-{view.end:%Y%m%dT%H%MZ}.csv"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@_for_watchers
def posts(request: HttpRequest) -> HttpResponse:
    """The newest posts of the chart's bin that begins at `at` (ISO 8601); with `side=other`, of
    a comparison's other side."""
    try:
        start = parse_datetime(request.GET.get("at", ""))
    except ValueError:
        start = None
    if start is None or not 1900 < start.year < 3000:
        raise Http404("`at` is when a bin begins, as 2026-03-01T12:00:00Z.")
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    view = selectors.view_of(request.GET)
    if request.GET.get("side") == "other":
        against, problem = _against(request, view)
        if against is None:
            return _refusal(problem or "There is no other side without `against`.")
        view = against.view
    return JsonResponse({"posts": selectors.posts_of_bin(view, start)})


@_for_watchers
def why(request: HttpRequest, *, post_id: int) -> HttpResponse:
    """Why a post is judged as it is. 503 with Retry-After while the model cannot say."""
    post = get_object_or_404(Post.objects.current(), pk=post_id)
    try:
        return JsonResponse(explanations.explain_post(post))
    except ModelingError as error:
        answer = JsonResponse({"title": "The model cannot say", "detail": str(error)}, status=503)
        answer["Retry-After"] = str(RETRY_SECONDS)
        return answer
