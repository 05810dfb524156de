"""What a person did on the labelling page, read from JSON and done by the services."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User

from ingestion.events import clean
from ingestion.models import Post
from modeling.models import Annotation, Category, LabelScheme
from modeling.services.annotate import LONGEST_NOTE, annotate, flag, skip, take_up, undo

MOST_ACTIONS = 50
# What one can hold, and what still waits to be saved.
MOST_IDS = 200
LARGEST_ID = 2**63 - 1
KINDS = frozenset({"label", "skip", "flag", "undo", "take_up"})
OF_CATEGORIES = frozenset({"label", "undo"})


class Malformed(Exception):
    """The message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Action:
    """`category` is a key, of labels and what takes them back; `seconds` is how long it took;
    `note` says what is wrong with a flagged post; `origin` is of the label that is taken back."""

    do: str
    post: int
    category: str = ""
    seconds: float | None = None
    note: str = ""
    origin: str = Annotation.Origin.HUMAN


def read_body(body: bytes) -> dict[str, Any]:
    """Raises Malformed."""
    try:
        data = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise Malformed("The body must be JSON.") from error
    if not isinstance(data, dict):
        raise Malformed("The body must be a JSON object.")
    return data


def read_ids(data: Mapping[str, Any]) -> list[int]:
    """The assignments that the page has already. Raises Malformed."""
    ids = data.get("have", [])
    if not isinstance(ids, list) or len(ids) > MOST_IDS or not all(map(_is_id, ids)):
        raise Malformed(f"`have` must be a list of at most {MOST_IDS} numbers.")
    return ids


def read_actions(data: Mapping[str, Any]) -> list[Action]:
    """Raises Malformed."""
    given = data.get("actions")
    if not isinstance(given, list) or len(given) > MOST_ACTIONS:
        raise Malformed(f"`actions` must be a list of at most {MOST_ACTIONS}.")
    return [_action(one) for one in given]


def _action(given: Any) -> Action:
    do = given.get("do") if isinstance(given, dict) else None
    if not isinstance(do, str) or do not in KINDS:
        raise Malformed(f"`do` must be one of {', '.join(sorted(KINDS))}.")
    post, category, seconds = given.get("post"), given.get("category"), given.get("seconds")
    if not isinstance(post, int) or not _is_id(post):
        raise Malformed("`post` must be the number of a post.")
    if do in OF_CATEGORIES and not isinstance(category, str):
        raise Malformed("`category` must be the key of a category.")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise Malformed("`seconds` must be a number.")
    note = given.get("note") or ""
    if not isinstance(note, str) or len(note) > LONGEST_NOTE:
        raise Malformed(f"`note` must be a text of at most {LONGEST_NOTE} characters.")
    origin = given.get("origin") or Annotation.Origin.HUMAN
    if origin not in Annotation.Origin.values:
        raise Malformed(f"`origin` must be one of {', '.join(Annotation.Origin.values)}.")
    return Action(do, post, category or "", seconds, clean(note), origin)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_ID


def perform(
    actions: Sequence[Action], *, annotator: User, scheme: LabelScheme
) -> list[dict[str, Any]]:
    """Do each in its turn; for each whether it is saved, and else why not. Safe to repeat."""
    categories = {category.key: category for category in scheme.categories.all()}
    posts = Post.objects.visible().in_bulk({action.post for action in actions})
    results = []
    for action in actions:
        post = posts.get(action.post)
        error = ""
        if post is None:
            error = "The post was deleted at its source."
        elif action.do in OF_CATEGORIES and action.category not in categories:
            error = f"There is no category {action.category[:50]!r}."
        else:
            _perform(action, post, categories, annotator, scheme)
        results.append({"post": action.post, "saved": not error, "error": error})
    return results


def _perform(
    action: Action,
    post: Post,
    categories: Mapping[str, Category],
    annotator: User,
    scheme: LabelScheme,
) -> None:
    match action.do:
        case "label":
            annotate(post, categories[action.category], annotator=annotator, seconds=action.seconds)
        case "undo":
            undo(post, categories[action.category], annotator=annotator, origin=action.origin)
        case "skip":
            skip(post, scheme, annotator=annotator, seconds=action.seconds)
        case "flag":
            flag(post, scheme, annotator=annotator, seconds=action.seconds, note=action.note)
        case "take_up":
            take_up(post, scheme, annotator=annotator)
