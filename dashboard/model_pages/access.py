"""Who may look at the model, and who may change what serves."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse

from dashboard.access import may_watch
from modeling.models import LabelScheme

View = Callable[..., HttpResponse]


def may_promote(user: AbstractBaseUser | AnonymousUser) -> bool:
    """As the API: everybody where the site is open, else whoever may change versions."""
    return _may(user, "modeling.change_modelversion")


def may_retrain(user: AbstractBaseUser | AnonymousUser) -> bool:
    """As the API: everybody where the site is open, else whoever may add trainings."""
    return _may(user, "modeling.add_trainingrun")


def _may(user: AbstractBaseUser | AnonymousUser, permission: str) -> bool:
    if not settings.API_REQUIRE_AUTH:
        return True
    return isinstance(user, User) and user.has_perm(permission)


def for_watchers(view: View) -> View:
    """Sends strangers to sign in, and back to the same page."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not may_watch(request.user):
            return redirect_to_login(request.get_full_path())
        return view(request, *args, **kwargs)

    return guarded


def for_promoters(view: View) -> View:
    """As `for_watchers`; refuses who may look and not promote."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not may_promote(request.user):
            raise PermissionDenied("Promoting takes the permission to change model versions.")
        return view(request, *args, **kwargs)

    return for_watchers(guarded)


def for_trainers(view: View) -> View:
    """As `for_watchers`; refuses who may look and not ask for a training."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not may_retrain(request.user):
            raise PermissionDenied("Asking for a training takes the permission to add trainings.")
        return view(request, *args, **kwargs)

    return for_watchers(guarded)


def who(request: HttpRequest) -> dict[str, Any]:
    """Whom the promotion ledger names."""
    user = request.user if isinstance(request.user, User) else None
    return {"by": user, "actor": "" if user is not None else "web page"}


def scheme_of(request: HttpRequest) -> LabelScheme:
    """The scheme that `?scheme=` names, the default one without it. Raises Http404."""
    key = request.GET.get("scheme") or LabelScheme.DEFAULT_KEY
    scheme = LabelScheme.objects.filter(key=key[:50]).first()
    if scheme is None:
        raise Http404("There is no such scheme.")
    return scheme
