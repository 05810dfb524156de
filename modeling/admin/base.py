"""What the pages of the admin share."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.html import format_html

from modeling.models import Category


def badge(category: Category) -> str:
    """A category as a coloured dot beside its name: colour is never the only sign."""
    return format_html("{} {}", dot(category), category.name)


def dot(category: Category) -> str:
    """Its colour; an attribute of a drawing, since pages allow no inline style."""
    return format_html(
        '<svg width="10" height="10" viewBox="0 0 10 10" aria-hidden="true">'
        '<circle cx="5" cy="5" r="5" fill="{}"/></svg>',
        category.color,
    )


def user_of(request: HttpRequest) -> User:
    # Only signed-in staff reach the admin.
    if not isinstance(request.user, User):
        raise TypeError("the admin was reached without signing in")
    return request.user
