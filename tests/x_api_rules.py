"""X's rule grammar, as far as a stand-in needs it: is a rule valid, and does a text match it?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

MAX_LENGTH = 1024
Matcher = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r'\s*(-?\(|\)|-?"[^"]*"|[^\s()]+)')
_NOT_STANDALONE = ("has:", "is:", "lang:", "sample:")


class InvalidRule(Exception):
    """X would refuse the rule; the message is what it would say."""


def parse(value: str) -> Matcher:
    """A predicate over posts (`text`, `lang`, `username`). Raises InvalidRule."""
    if len(value) > MAX_LENGTH:
        raise InvalidRule(f"Rule length exceeds the maximum of {MAX_LENGTH} (at position 1)")
    if value.count('"') % 2:
        raise InvalidRule("Missing closing quote (at position 1)")
    tokens = _TOKEN.findall(value)
    parser = _Parser(tokens)
    matcher = parser.any_of()
    if parser.rest:
        raise InvalidRule(f"Unexpected ')' (at token {len(tokens) - len(parser.rest) + 1})")
    words = [token for token in tokens if token not in {"(", ")", "-(", "OR"}]
    if all(word.startswith("-") for word in words):
        raise InvalidRule("Rules must contain a non-negation term (at position 1)")
    if all(word.lstrip("-").startswith(_NOT_STANDALONE) for word in words):
        raise InvalidRule("Rules must contain a standalone operator (at position 1)")
    return matcher


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens

    def any_of(self) -> Matcher:
        choices = [self.all_of()]
        while self.rest and self.rest[0] == "OR":
            self.rest = self.rest[1:]
            choices.append(self.all_of())
        return lambda post: any(choice(post) for choice in choices)

    def all_of(self) -> Matcher:
        terms: list[Matcher] = []
        while self.rest and self.rest[0] not in {")", "OR"}:
            terms.append(self.term())
        if not terms:
            raise InvalidRule("Rules must not be empty (at position 1)")
        return lambda post: all(term(post) for term in terms)

    def term(self) -> Matcher:
        token, self.rest = self.rest[0], self.rest[1:]
        if token == "-(":
            raise InvalidRule("Groups cannot be negated (at position 1)")
        if token == "(":
            inner = self.any_of()
            if not self.rest:
                raise InvalidRule("Missing closing parenthesis (at position 1)")
            self.rest = self.rest[1:]
            return inner
        if token.startswith("-"):
            wanted = _word(token[1:])
            return lambda post: not wanted(post)
        return _word(token)


def _word(token: str) -> Matcher:
    name, colon, argument = token.partition(":")
    if colon and name == "lang":
        return lambda post: post.get("lang") == argument
    if colon and name == "from":
        return lambda post: str(post.get("username", "")).lower() == argument.lower().lstrip("@")
    if colon and f"{name}:" in _NOT_STANDALONE:
        return lambda post: True
    phrase = re.compile(rf"(?<!\w){re.escape(token.strip(chr(34)))}(?!\w)", re.IGNORECASE)
    return lambda post: phrase.search(str(post["text"])) is not None
