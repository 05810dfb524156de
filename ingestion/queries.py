"""Our own filter language, for sources that do not filter themselves: X's rule grammar, in part.

Words, "phrases", #hashtags, @mentions, $cashtags, `from:`, `lang:` and `url:`; a space means AND
and binds tighter than OR; parentheses group, `-` negates. What else X knows (`is:`, `has:`, …) is
accepted and matches everything: it is named in `Query.unsupported`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ingestion import query_text
from ingestion.exceptions import BadQuery
from ingestion.language_tags import normalised, primary
from ingestion.query_text import Text

MAX_QUERY = 1024
MAX_DEPTH = 32

# Judges a text, the author's name and id, and the language.
_Test = Callable[[Text, str, str, str], bool]

# Operators of X that need more than a text, an author and a language.
UNSUPPORTED = frozenset(
    {
        "bio",
        "bio_location",
        "bio_name",
        "bounding_box",
        "context",
        "conversation_id",
        "entity",
        "followers_count",
        "following_count",
        "has",
        "in_reply_to_tweet_id",
        "in_reply_to_status_id",
        "is",
        "keyword",
        "list",
        "listed_count",
        "place",
        "place_country",
        "point_radius",
        "profile_country",
        "profile_locality",
        "profile_region",
        "quotes_of_tweet_id",
        "retweets_of",
        "retweets_of_tweet_id",
        "retweets_of_status_id",
        "sample",
        "source",
        "statuses_count",
        "to",
        "tweets_count",
        "url_contains",
        "url_description",
        "url_title",
    }
)

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(
    rf"""(?P<negation>-?)(?:
      (?P<open>\()
    | (?P<phrase>{_QUOTED})
    | (?P<name>[A-Za-z_]+):(?P<argument>{_QUOTED}|\[[^\]]*\]|[^\s()"]*)
    | (?P<word>[^\s()"]+)
    ) | (?P<close>\))""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Query:
    """A query, compiled. `unsupported` names the operators in it that match everything here."""

    text: str
    unsupported: tuple[str, ...]
    _test: _Test = field(repr=False, compare=False)

    def matches(self, *, text: str, author: str = "", lang: str = "", author_id: str = "") -> bool:
        """Whether a post is asked for. Costs linear time in the text."""
        return self._test(query_text.read(text), author, author_id, lang)


def parse(text: str) -> Query:
    """The query of this text; an empty one matches everything. Raises BadQuery."""
    if len(text) > MAX_QUERY:
        raise BadQuery(f"the query has {len(text)} characters; {MAX_QUERY} are allowed")
    if not text.strip():
        return Query(text, (), _everything)
    parser = _Parser(text)
    test = parser.parse()
    return Query(text, tuple(dict.fromkeys(parser.unsupported)), test)


class _Parser:
    """Recursive descent, from tokens straight to tests."""

    def __init__(self, text: str) -> None:
        self.unsupported: list[str] = []
        self._text = text
        self._end = 0
        self._depth = 0
        # Whether an odd number of negations surrounds this place.
        self._is_negated = False
        self._token: re.Match[str] | None = None
        self._advance()

    def parse(self) -> _Test:
        test = self._any_of()
        if self._token is not None:
            raise self._wrong("this parenthesis closes nothing")
        return test

    def _advance(self) -> None:
        while self._end < len(self._text) and self._text[self._end].isspace():
            self._end += 1
        if self._end == len(self._text):
            self._token = None
            return
        self._token = _TOKEN.match(self._text, self._end)
        if self._token is None:
            quote = self._text.find('"', self._end)
            if quote >= 0:
                raise _bad("this quote is never closed", quote)
            raise _bad("nothing follows the minus", self._end)
        self._end = self._token.end()

    def _any_of(self) -> _Test:
        choices = [self._all_of()]
        while self._is_or():
            self._advance()
            choices.append(self._all_of())
        return choices[0] if len(choices) == 1 else _any(choices)

    def _all_of(self) -> _Test:
        terms: list[_Test] = []
        while self._token is not None and not self._token["close"] and not self._is_or():
            terms.append(self._term(self._token))
        if not terms:
            raise self._wrong("a word is missing here")
        return terms[0] if len(terms) == 1 else _all(terms)

    def _is_or(self) -> bool:
        return self._token is not None and self._token[0] == "OR"

    def _term(self, token: re.Match[str]) -> _Test:
        self._is_negated ^= bool(token["negation"])
        test = self._group(token) if token["open"] else self._leaf(token)
        if token["negation"]:
            self._is_negated = not self._is_negated
            return _not(test)
        return test

    def _group(self, token: re.Match[str]) -> _Test:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"parentheses are nested more than {MAX_DEPTH} deep")
        self._advance()
        test = self._any_of()
        if self._token is None:
            raise _bad("this parenthesis is never closed", token.start("open"))
        self._depth -= 1
        self._advance()
        return test

    def _leaf(self, token: re.Match[str]) -> _Test:
        if token["name"] is not None:
            test = self._operator(token)
        elif token["phrase"] is not None:
            test = self._words(_unquoted(token["phrase"]))
        else:
            test = self._word(token["word"])
        self._advance()
        return test

    def _word(self, word: str) -> _Test:
        if word.startswith("-"):
            raise self._wrong("negate once" if len(word) > 1 else "nothing follows the minus")
        if word.lower() in {"and", "or"} or word == "NOT":
            raise self._wrong(
                f'{word} is ambiguous: put a space for "and", OR for "or", a minus for "not", '
                "or the word in quotes to find it"
            )
        if "*" in word:
            raise self._wrong("there are no wildcards: put it in quotes to find the rest")
        folded = query_text.fold(word)
        if folded[0] in "#@$" and len(folded) > 1:
            return self._tag(folded)
        return self._words(word)

    def _tag(self, folded: str) -> _Test:
        tags = query_text.Text(folded).tags
        if folded not in tags:
            raise self._wrong(f"{folded} is no hashtag, mention or cashtag")
        return lambda text, author, author_id, lang: folded in text.tags

    def _words(self, words: str) -> _Test:
        wanted = query_text.words(query_text.fold(words))
        if wanted == " ":
            raise self._wrong("there is no letter, digit or symbol to look for")
        return lambda text, author, author_id, lang: wanted in text.words

    def _operator(self, token: re.Match[str]) -> _Test:
        name = token["name"].lower()
        if not token["argument"] and self._text[token.end() : token.end() + 1] == '"':
            raise _bad("this quote is never closed", token.end())
        argument = query_text.fold(_unquoted(token["argument"]))
        if name in UNSUPPORTED:
            return self._unjudged(name)
        if name not in {"from", "lang", "url"}:
            raise self._wrong(f'there is no operator "{name}:"; quote it to find the text')
        if not argument.strip():
            raise self._wrong(f"something must follow {name}: without a space")
        if name == "from":
            return _from(argument.removeprefix("@"))
        return _lang(argument) if name == "lang" else self._url(argument)

    def _unjudged(self, name: str) -> _Test:
        self.unsupported.append(f"{name}:")
        # Under a negation nothing matches, so that the negation does.
        return _nothing if self._is_negated else _everything

    def _url(self, argument: str) -> _Test:
        wanted = query_text.words(argument)
        if wanted == " ":
            raise self._wrong("there is no letter, digit or symbol to look for")
        return lambda text, author, author_id, lang: any(wanted in url for url in text.urls)

    def _wrong(self, what: str) -> BadQuery:
        return _bad(what, len(self._text) if self._token is None else self._token.start())


def _bad(what: str, index: int) -> BadQuery:
    return BadQuery(f"at character {index + 1} of the query: {what}")


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[:1] == '"' else text


def _everything(text: Text, author: str, author_id: str, lang: str) -> bool:
    return True


def _nothing(text: Text, author: str, author_id: str, lang: str) -> bool:
    return False


def _from(wanted: str) -> _Test:
    def test(text: Text, author: str, author_id: str, lang: str) -> bool:
        return author.casefold().removeprefix("@") == wanted or author_id.casefold() == wanted

    return test


def _lang(wanted: str) -> _Test:
    """en finds en-GB, too; X calls an unknown language und."""

    def test(text: Text, author: str, author_id: str, lang: str) -> bool:
        known = normalised(lang) or "und"
        return known == wanted or primary(known) == wanted

    return test


def _not(test: _Test) -> _Test:
    return lambda text, author, author_id, lang: not test(text, author, author_id, lang)


def _all(tests: list[_Test]) -> _Test:
    def test(text: Text, author: str, author_id: str, lang: str) -> bool:
        for each in tests:  # noqa: SIM110 - a generator would cost more than most tests
            if not each(text, author, author_id, lang):
                return False
        return True

    return test


def _any(tests: list[_Test]) -> _Test:
    def test(text: Text, author: str, author_id: str, lang: str) -> bool:
        for each in tests:  # noqa: SIM110 - as above
            if each(text, author, author_id, lang):
                return True
        return False

    return test
