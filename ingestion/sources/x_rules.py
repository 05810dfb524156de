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
_QUOTED = re.compile(r'("[^"]*")')
_SAMPLE = re.compile(r"(?:(?<=[\s()])|^)sample:(\d+)(?=[\s()]|$)")


def tag(stream: Stream) -> str:
    return f"sentiment:{stream.pk}:{stream.name}"


def stream_of(rule_tag: str) -> int | None:
    """The primary key of the stream that a tag names; None for a rule that is not ours."""
    match = _TAG.match(rule_tag)
    return int(match[1]) if match else None


def value(stream: Stream) -> str:
    """The rule that delivers what the stream asks for, or the share of it that it may read."""
    if stream.sample_percent is None:
        return _in_languages(stream, " ".join(stream.query.split()))
    query, own = _without_sample(stream.query)
    percent = min([stream.sample_percent, *own])
    rule = _in_languages(stream, query)
    # AND binds tighter than OR.
    return f"{rule if stream.languages else f'({query})'} sample:{percent}"


def search_value(stream: Stream) -> str:
    """The query that searches for what the rule delivers: a search takes no sample."""
    return _in_languages(stream, without_sample(stream.query))


def without_sample(query: str) -> str:
    """`query` without X's sample: operator, which only rules may have."""
    return _without_sample(query)[0]


def _without_sample(query: str) -> tuple[str, list[int]]:
    """The query without sample:, and what was taken out; quoted words are left alone."""
    percents: list[int] = []
    parts = _QUOTED.split(query)
    for index in range(0, len(parts), 2):
        percents += map(int, _SAMPLE.findall(parts[index]))
        parts[index] = _SAMPLE.sub("", parts[index])
    return re.sub(r"\(\s*\)", "", " ".join("".join(parts).split())).strip(), percents


def _in_languages(stream: Stream, query: str) -> str:
    if not stream.languages:
        return query
    languages = " OR ".join(f"lang:{code}" for code in stream.languages)
    return f"({query}) ({languages})" if len(stream.languages) > 1 else f"({query}) {languages}"


def too_long(stream: Stream) -> str:
    """Why the rule cannot be sent at all; "" when it can."""
    length = len(value(stream))
    if length <= MAX_LENGTH:
        return ""
    return (
        f"The rule is {length} characters long, languages included; X allows {MAX_LENGTH}: "
        "shorten the query or make two streams of it."
    )


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
    refused = {stream.pk: reason for stream in streams if (reason := too_long(stream))}
    wanted = {stream.pk: value(stream) for stream in streams if stream.pk not in refused}
    keep: dict[int, str] = {}
    delete: list[str] = []
    # X refuses a second rule of the same value, so one that stays serves every stream that has it.
    stays: dict[str, str] = {}
    foreign: list[str] = []
    for rule in standing:
        owner = stream_of(str(rule.get("tag") or ""))
        identity, text = str(rule.get("id", "")), str(rule.get("value", ""))
        if owner is None:
            foreign.append(text)
            stays[text] = identity
        elif wanted.get(owner) == text and owner not in keep:
            keep[owner] = stays[text] = identity
        else:
            delete.append(identity)
    keep |= {pk: stays[text] for pk, text in wanted.items() if pk not in keep and text in stays}
    add = [stream for stream in streams if stream.pk in wanted and stream.pk not in keep]
    return Difference(keep, delete, add, refused, sorted(foreign))


def read_answer(
    answer: Mapping[str, Any], added: Sequence[Stream]
) -> tuple[dict[int, str], dict[int, str]]:
    """X's answer to added rules: rule ids of streams, and reasons of those it refused."""
    created = {str(rule.get("value")): str(rule.get("id")) for rule in _items(answer, "data")}
    by_value = {str(error.get("value")): error for error in errors(answer)}
    rule_ids: dict[int, str] = {}
    refused: dict[int, str] = {}
    for stream in added:
        text = value(stream)
        error = by_value.get(text, {})
        if text in created:
            rule_ids[stream.pk] = created[text]
        elif standing := duplicate_of(error):
            rule_ids[stream.pk] = standing
        else:
            refused[stream.pk] = reason(error or next(iter(by_value.values()), answer))
    return rule_ids, refused


def has_no_room(answer: Mapping[str, Any]) -> bool:
    """Whether X added none of the rules because the account has as many as it may have."""
    said = [answer, *errors(answer)]
    return not answer.get("data") and any(error.get("title") == _FULL for error in said)


_FULL = "RulesCapExceeded"
NO_ROOM = "X refused the rule: the account has as many rules as X allows; pause other streams."


def duplicate_of(error: Mapping[str, Any]) -> str:
    """The id of the standing rule that has the same value; "" for any other error."""
    if error.get("title") != "DuplicateRule":
        return ""
    return str(error.get("id") or "")


def reason(error: Mapping[str, Any]) -> str:
    """What X has against a rule, in its words."""
    if error.get("title") == _FULL:
        return NO_ROOM
    if error.get("title") == "DuplicateRule":
        return "X refused the rule: another one is exactly the same."
    details = error.get("details")
    if isinstance(details, list) and details:
        return "X refused the rule: " + "; ".join(map(str, details))
    said = error.get("detail") or error.get("title") or "it did not say why"
    return f"X refused the rule: {said}"


def errors(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What X has against the rules it was sent."""
    return _items(answer, "errors")


def _items(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = answer.get(name)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
