"""Who may label. A label needs a name: also where the site is open, strangers sign in first."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse

Page = Callable[[HttpRequest, User], HttpResponse]
View = Callable[[HttpRequest], HttpResponse]

PERMISSION = "modeling.add_annotation"


def may_annotate(user: AbstractBaseUser | AnonymousUser | None) -> bool:
    """Whether the way there is shown: to whoever may label, or could after signing in."""
    if isinstance(user, User):
        return user.has_perm(PERMISSION)
    return not settings.API_REQUIRE_AUTH


def for_annotators(page: Page) -> View:
    """Hands the page who labels; sends strangers to sign in, and refuses who may not."""

    @wraps(page)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not isinstance(request.user, User):
            return redirect_to_login(request.get_full_path())
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied("Labelling takes the permission to add annotations.")
        return page(request, request.user)

    return guarded


def for_annotating_scripts(view: Page) -> View:
    """As `for_annotators`, with answers that a script can read.

    `?user=` says whose page asks: one that stayed open while somebody else signed in waits, so
    that nobody's answers are saved under another's name.
    """

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not isinstance(request.user, User):
            return problem(401, "Sign in first", "Your session has ended: sign in again.")
        if not request.user.has_perm(PERMISSION):
            return problem(403, "Not allowed", "Ask for the role annotator.")
        if request.GET.get("user") != str(request.user.pk):
            return problem(401, "Sign in first", "Somebody else has signed in: load the page anew.")
        return view(request, request.user)

    return guarded


def problem(status: int, title: str, detail: str) -> JsonResponse:
    """An error as the API tells it."""
    return JsonResponse(
        {"title": title, "status": status, "detail": detail},
        status=status,
        content_type="application/problem+json",
    )
