"""Streams as rules of X's filtered stream: what to add, what to delete, what to leave alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingestion.models import Stream

MAX_LENGTH = 1024
# A rule's tag names its stream; X shows it to whoever looks at the account's rules.
_TAG = re.compile(r"^sentiment:(\d+)(?::|$)")


def tag(stream: Stream) -> str:
    return f"sentiment:{stream.pk}:{stream.name}"


def stream_of(rule_tag: str) -> int | None:
    """The primary key of the stream that a tag names; None for a rule that is not ours."""
    match = _TAG.match(rule_tag)
    return int(match[1]) if match else None


def value(stream: Stream) -> str:
    """The rule that delivers what the stream asks for."""
    query = " ".join(stream.query.split())
    if not stream.languages:
        return query
    languages = " OR ".join(f"lang:{code}" for code in stream.languages)
    return f"({query}) ({languages})" if len(stream.languages) > 1 else f"({query}) {languages}"


@dataclass(frozen=True)
class Difference:
    """From the rules that stand to those that are wanted."""

    keep: dict[int, str]
    delete: list[str]
    add: list[Stream]
    refused: dict[int, str]
    foreign: list[str]


def difference(standing: Sequence[Mapping[str, Any]], streams: Sequence[Stream]) -> Difference:
    """`standing` are rules as X lists them (id, value, perhaps tag)."""
    refused = {
        stream.pk: f"The rule is {len(value(stream))} characters long; X allows {MAX_LENGTH}."
        for stream in streams
        if len(value(stream)) > MAX_LENGTH
    }
    wanted = {stream.pk: value(stream) for stream in streams if stream.pk not in refused}
    keep: dict[int, str] = {}
    delete: list[str] = []
    foreign: dict[str, str] = {}
    for rule in standing:
        owner = stream_of(str(rule.get("tag") or ""))
        identity, text = str(rule.get("id", "")), str(rule.get("value", ""))
        if owner is None:
            foreign[text] = identity
        elif wanted.get(owner) == text and owner not in keep:
            keep[owner] = identity
        else:
            delete.append(identity)
    # X refuses a second rule of the same value, so a foreign one serves the stream as well.
    keep |= {pk: foreign[text] for pk, text in wanted.items() if pk not in keep and text in foreign}
    add = [stream for stream in streams if stream.pk in wanted and stream.pk not in keep]
    return Difference(keep, delete, add, refused, sorted(foreign))


def read_answer(
    answer: Mapping[str, Any], added: Sequence[Stream]
) -> tuple[dict[int, str], dict[int, str]]:
    """X's answer to added rules: rule ids of streams, and reasons of those it refused."""
    created = {str(rule.get("value")): str(rule.get("id")) for rule in answer.get("data") or []}
    errors = {str(error.get("value")): error for error in answer.get("errors") or []}
    rule_ids: dict[int, str] = {}
    refused: dict[int, str] = {}
    for stream in added:
        text = value(stream)
        error = errors.get(text, {})
        if text in created:
            rule_ids[stream.pk] = created[text]
        elif error.get("title") == "DuplicateRule" and error.get("id"):
            rule_ids[stream.pk] = str(error["id"])
        else:
            refused[stream.pk] = _reason(error or next(iter(errors.values()), {}))
    return rule_ids, refused


def _reason(error: Mapping[str, Any]) -> str:
    details = error.get("details")
    if isinstance(details, list) and details:
        return "X refused the rule: " + "; ".join(map(str, details))
    said = error.get("detail") or error.get("title") or "it did not say why"
    return f"X refused the rule: {said}"
