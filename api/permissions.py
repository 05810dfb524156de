"""Who may do what."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from api.authentication import bearer
from api.models import ApiToken

if TYPE_CHECKING:
    # DRF loads this module while it loads its views.
    from rest_framework.views import APIView

Scope = ApiToken.Scope


def scope_of(request: Request, view: APIView) -> str:
    """What a token needs: the view's `scope`; else read to read, `write_scope` (admin) to write."""
    if (scope := getattr(view, "scope", None)) is not None:
        return str(scope)
    if request.method in SAFE_METHODS:
        return Scope.READ
    return str(getattr(view, "write_scope", Scope.ADMIN))


def is_of_another_site(request: HttpRequest | Request) -> bool:
    """Whether a browser says that a page of a site that is not named here sends this.

    Programs say neither where a request comes from nor what for.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}
    trusted = [*settings.CORS_ALLOWED_ORIGINS, *settings.CSRF_TRUSTED_ORIGINS]
    # Not by scheme: what ends TLS in front may not say that it does.
    return origin not in trusted and urlsplit(origin).netloc != request.get_host()


class IsAllowed(BasePermission):
    """Everybody where the API is open (API_REQUIRE_AUTH off), else whoever signed in, and tokens
    of the scope.

    Open it is to whoever reaches it, not to every page that their browser shows: a POST without a
    body asks nobody before it is sent.
    """

    message = "This takes a permission, or a token of another scope."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if isinstance(request.auth, ApiToken) and settings.API_REQUIRE_AUTH:
            return request.auth.allows(scope_of(request, view))
        if not settings.API_REQUIRE_AUTH:
            is_safe = request.method in SAFE_METHODS or isinstance(request.auth, ApiToken)
            if not is_safe and is_of_another_site(request):
                raise PermissionDenied(
                    "A page of another site asked for this: name its origin in "
                    "CORS_ALLOWED_ORIGINS, or send a token."
                )
            return True
        return bool(request.user.is_authenticated)


class MayWrite(IsAllowed):
    """Reading as IsAllowed; writing takes the permission that the view names in
    `write_permission`, or a token of its scope, except where the API is open."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        is_settled = not settings.API_REQUIRE_AUTH or isinstance(request.auth, ApiToken)
        if request.method in SAFE_METHODS or is_settled:
            return True
        # Every view that is guarded so names one.
        return bool(request.user.has_perm(view.write_permission))  # type: ignore[attr-defined]


class IsSignedIn(IsAllowed):
    """Reading as IsAllowed; writing takes a name, even where the API is open."""

    message = "Sign in or send a token first: a label needs to know who gave it."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS:
            return super().has_permission(request, view)
        if isinstance(request.auth, ApiToken):
            return request.auth.allows(scope_of(request, view))
        return request.user.is_authenticated and request.user.has_perm("modeling.add_annotation")


def may_read(request: HttpRequest) -> bool:
    """Whether a request outside the REST framework may see what the API's readers see."""
    if not settings.API_REQUIRE_AUTH or request.user.is_authenticated:
        return True
    try:
        token = bearer(request)
    except AuthenticationFailed:
        return False
    return token is not None and token.allows(Scope.READ)


def may_scrape(request: HttpRequest) -> bool:
    """Metrics go to readers and to the networks of METRICS_NETWORKS.

    A forwarded request hides where it comes from and counts as foreign.
    """
    if may_read(request):
        return True
    if "X-Forwarded-For" in request.headers:
        return False
    # Of no network: a socket file has no address.
    address = ip_address(request.META.get("REMOTE_ADDR") or "0.0.0.0")  # noqa: S104
    return any(address in network for network in settings.METRICS_NETWORKS)
