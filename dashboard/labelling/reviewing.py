"""A second look at labels, and labelling many at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from dashboard.labelling.access import for_annotators
from dashboard.labelling.actions import LARGEST_ID
from dashboard.labelling.views import scheme_of
from ingestion.models import Post
from modeling.models import Annotation, Category, LabelScheme
from modeling.services import review
from modeling.services.agreement import agreement, disagreements
from modeling.services.annotate import annotate, annotate_many, undo, undo_many, unflag

# What one page of a search shows, and labels at most.
MOST_FOUND = 200
LONGEST_SEARCH = 200


def _base(scheme: LabelScheme, **more: Any) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "schemes": list(LabelScheme.objects.all()),
        "categories": list(scheme.categories.all()),
        "is_labelling": True,
        **more,
    }


@require_safe
@for_annotators
def overview(request: HttpRequest, annotator: User) -> HttpResponse:
    """Agreement, honest accuracy, what to settle, and how each person does."""
    scheme = scheme_of(request)
    context = _base(
        scheme,
        agreement=agreement(scheme),
        accuracy=review.honest_accuracy(scheme),
        disagreements=disagreements(scheme),
        flags=review.flagged(scheme),
        doubts=review.doubts(scheme),
        clashes=review.clashes(scheme),
        people=review.annotators(scheme),
        settled=_settled(request.GET, scheme),
    )
    return render(request, "dashboard/label_review.html", context)


def _settled(asked: QueryDict, scheme: LabelScheme) -> dict[str, Any] | None:
    """What the page that one comes from has just settled, to be undone."""
    post, category = _number(asked.get("post")), _category(asked, scheme)
    return {"post": post, "category": category} if post and category else None


def _number(given: str | None) -> int | None:
    is_number = given is not None and given.isascii() and given.isdigit() and len(given) < 20
    return int(given) if given and is_number and 0 < int(given) <= LARGEST_ID else None


def _category(given: QueryDict, scheme: LabelScheme) -> Category | None:
    return scheme.categories.filter(key=(given.get("category") or "")[:50]).first()


@require_POST
@for_annotators
def settle(request: HttpRequest, annotator: User) -> HttpResponse:
    """Give a post the label that settles it (`category`), take that back (`undo`), or leave a
    flagged one as it is (neither)."""
    scheme = scheme_of(request)
    number = _number(request.POST.get("post"))
    post = Post.objects.visible().filter(pk=number).first() if number is not None else None
    if post is None:
        return _back(scheme)
    category, told = _category(request.POST, scheme), {}
    if category is None:
        unflag(post, scheme)
    elif "undo" in request.POST:
        undo(post, category, annotator=annotator, origin=Annotation.Origin.REVIEW)
    else:
        annotate(post, category, annotator=annotator, origin=Annotation.Origin.REVIEW)
        unflag(post, scheme)
        told = {"post": post.pk, "category": category.key}
    return _back(scheme, **told)


def _back(scheme: LabelScheme, **told: Any) -> HttpResponse:
    query = urlencode({"scheme": scheme.key, **told})
    return redirect(f"{reverse('label-review')}?{query}")


@for_annotators
def search(request: HttpRequest, annotator: User) -> HttpResponse:
    """Find posts by their words, look at them, label those that are ticked; or take it back."""
    if request.method == "POST":
        return _label_many(request, annotator)
    scheme = scheme_of(request)
    return render(request, "dashboard/label_search.html", _found(request, scheme, annotator))


def _found(request: HttpRequest, scheme: LabelScheme, annotator: User) -> dict[str, Any]:
    words = " ".join(request.GET.get("q", "").replace("\x00", "").split())[:LONGEST_SEARCH]
    mine = Annotation.objects.current().filter(annotator=annotator, scheme=scheme)
    posts: list[Post] = []
    if words:
        unsaid = Post.objects.current().matching(words).exclude(annotations__in=mine)
        posts = list(unsaid.order_by("-pk")[:MOST_FOUND])
    return _base(scheme, words=words, posts=posts, most=MOST_FOUND)


def _label_many(request: HttpRequest, annotator: User) -> HttpResponse:
    scheme = scheme_of(request)
    ids = [pk for given in request.POST.getlist("post")[:MOST_FOUND] if (pk := _number(given))]
    category = _category(request.POST, scheme)
    if category is None:
        return HttpResponseBadRequest("Choose one of the scheme's categories.")
    told: dict[str, Any] = {"category": category}
    if "undo" in request.POST:
        told["undone"] = undo_many(category, ids, annotator=annotator)
    else:
        visible = Post.objects.visible().filter(pk__in=ids).values_list("pk", flat=True)
        unsaid = set(visible) - set(
            Annotation.objects.current()
            .filter(post__in=ids, annotator=annotator, scheme=scheme)
            .values_list("post_id", flat=True)
        )
        annotate_many(
            scheme,
            dict.fromkeys(unsaid, category.key),
            annotator=annotator,
            origin=Annotation.Origin.HUMAN,
        )
        told["labelled"] = sorted(unsaid)
    context = _found(request, scheme, annotator) | told
    return render(request, "dashboard/label_search.html", context)
