"""Who may do what."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    # DRF loads this module while it loads its views.
    from rest_framework.views import APIView


class IsAllowed(BasePermission):
    """Everybody where the API is open (API_REQUIRE_AUTH off), else whoever signed in."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return not settings.API_REQUIRE_AUTH or bool(request.user.is_authenticated)


class MayWrite(IsAllowed):
    """Reading as IsAllowed; writing takes the permission that the view names in
    `write_permission`, except where the API is open."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        if request.method in SAFE_METHODS or not settings.API_REQUIRE_AUTH:
            return True
        return bool(request.user.has_perm(view.write_permission))  # type: ignore[attr-defined]


class IsSignedIn(IsAllowed):
    """Reading as IsAllowed; writing takes a name, even where the API is open."""

    message = "Sign in first: a label needs to know who gave it."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS:
            return super().has_permission(request, view)
        return request.user.is_authenticated and request.user.has_perm("modeling.add_annotation")


def may_scrape(request: HttpRequest) -> bool:
    """Metrics go to signed-in users and to the networks of METRICS_NETWORKS.

    A forwarded request hides where it comes from and counts as foreign.
    """
    if not settings.API_REQUIRE_AUTH or request.user.is_authenticated:
        return True
    if "X-Forwarded-For" in request.headers:
        return False
    address = ip_address(request.META.get("REMOTE_ADDR") or "0.0.0.0")  # noqa: S104
    return any(address in network for network in settings.METRICS_NETWORKS)
