"""Who is shown the way to labelling."""

from __future__ import annotations

from django import template

from dashboard.labelling import access

register = template.Library()
register.filter("may_annotate", access.may_annotate)
