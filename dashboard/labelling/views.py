"""Labelling: the page, and what its script asks for."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from dashboard.labelling import payloads
from dashboard.labelling.access import for_annotating_scripts, for_annotators, problem
from dashboard.labelling.actions import Malformed, perform, read_actions, read_body, read_ids
from modeling.models import LabelScheme
from modeling.services import queue, review
from modeling.services.annotate import LONGEST_NOTE

BATCH = 10


def scheme_of(request: HttpRequest) -> LabelScheme:
    """The scheme that `?scheme=` names, the default one without it. Raises Http404."""
    key = request.GET.get("scheme") or LabelScheme.DEFAULT_KEY
    scheme = LabelScheme.objects.filter(key=key[:50]).first()
    if scheme is None:
        raise Http404("There is no such scheme.")
    return scheme


@require_safe
@ensure_csrf_cookie
@for_annotators
def page(request: HttpRequest, annotator: User) -> HttpResponse:
    """The workbench; its script fetches the posts."""
    scheme = scheme_of(request)
    categories = list(scheme.categories.all())
    context = {
        "scheme": scheme,
        "schemes": list(LabelScheme.objects.all()),
        "categories": categories,
        "is_labelling": True,
        "longest_note": LONGEST_NOTE,
        "page": {
            "user": annotator.pk,
            "scheme": scheme.key,
            "categories": [{"key": c.key, "name": c.title, "color": c.color} for c in categories],
            "history": payloads.history(review.history_of(annotator, scheme)),
            "standing": payloads.standing(annotator, scheme),
        },
    }
    return render(request, "dashboard/label.html", context)


@require_POST
@for_annotating_scripts
def next_items(request: HttpRequest, annotator: User) -> HttpResponse:
    """The next posts, other than those of the assignments in `have`."""
    scheme = scheme_of(request)
    try:
        have = read_ids(read_body(request.body))
    except Malformed as error:
        return problem(400, "Bad request", str(error))
    drawn = queue.draw(annotator, scheme, count=BATCH, have=have)
    return JsonResponse(
        {
            "items": payloads.items(drawn, scheme),
            "standing": payloads.standing(annotator, scheme),
        }
    )


@require_POST
@for_annotating_scripts
def save(request: HttpRequest, annotator: User) -> HttpResponse:
    """Do what `actions` say, in order; safe to send again when no answer came."""
    scheme = scheme_of(request)
    try:
        actions = read_actions(read_body(request.body))
    except Malformed as error:
        return problem(400, "Bad request", str(error))
    results = perform(actions, annotator=annotator, scheme=scheme)
    return JsonResponse({"results": results, "mine": review.counts_of(annotator, scheme)})
