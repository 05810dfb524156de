"""Text normalisation: one function, shared by training, inference, duplicates and splits.

The steps follow what is known of tweets (BERTweet, Nguyen et al. 2020; TweetEval, Barbieri et al.
2020): mentions and links carry no sentiment by themselves and become one token each; emoji carry
much and must not become `[UNK]`.
"""

import hashlib
import re
import unicodedata
from functools import cache
from typing import Any

import emoji
import ftfy

MENTION = "@user"
LINK = "http"
PASSES = 8

_LINK = re.compile(r"(?:https?://|www\.)\S+|\bpic\.twitter\.com/\S+", re.IGNORECASE)
_MENTION = re.compile(r"(?<![\w@])@\w{1,50}(?:@[\w.-]+\w)?")
_HASHTAG = re.compile(r"#(\w+)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)")
_ELONGATED = re.compile(r"(\w)\1{2,}")
_REPEATED_MARK = re.compile(r"([!?.,])\1{3,}")
_SPACE = re.compile(r"\s+")
_NESTED_ENTITY = re.compile("&(?:amp;)+")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")

# Emoticons become the words of the emoji they stand for, so that both teach the same lesson.
_EMOTICONS = (
    (r"[:=;]['’]-?\(+|:_\(+|T_T|;_;", "crying face"),
    (r"[:=]['’]-?\)+", "face with tears of joy"),
    (r">:-?\(+", "angry face"),
    (r"[:=]-?\)+|\(+-?:|\^_?\^|:-?\]", "smiling face"),
    (r"[:=]-?D+|\b[xX]D+\b", "grinning face"),
    (r"[:=]-?\(+|\)+-?:|:-?\[|:c\b", "frowning face"),
    (r";-?\)+", "winking face"),
    (r"[:=]-?[pP]\b", "face with tongue"),
    (r"[:=]-?[/\\](?![/\w])|-_+-", "confused face"),
    (r"</3", "broken heart"),
    (r"<3+", "red heart"),
    (r"[:=]-?[oO]\b", "surprised face"),
    (r"[:=]-?\|", "neutral face"),
)
_EMOTICON = re.compile("|".join(f"({pattern})" for pattern, _ in _EMOTICONS))
# What every emoticon has one of: looking for them one by one takes half of a normalisation.
_MAYBE_EMOTICON = re.compile(r"[:=;^<]|T_T|[xX]D|-_")
_EMOTICON_START = r"(?:(?<=\s)|(?<=^)|(?<=[\w.!?,…]))"
_EMOTICON_AT_BOUNDARY = re.compile(rf"{_EMOTICON_START}(?:{_EMOTICON.pattern})(?=\s|$|[.!?,])")

_STOPWORDS = """
    a about after again all also am an and any are as at be because been before being but by can
    cant come could day did didnt do does doesnt doing don dont down even ever every first for from
    get gets getting go goes going gonna got had has have having he her here hers him his how i id
    if ill im in into is isnt it its ive just know last let like made make many may maybe me might
    more most much must my need new next no nor not now of off oh ok on one only or other our out
    over own people rt said same say says see she should since so some still such take than that
    thats the their them then there these they theyre thing think this those though through time
    to today tomorrow too two u up ur us use very via wait want was wasnt way we week well went were
    what when where which while who why will with wont would yeah year yes yet you your youre
    don't i'm it's can't that's i've you're didn't doesn't isn't won't i'll we're they're he's she's
    what's there's let's i'd wasn't couldn't wouldn't haven't aren't hasn't we've you've who's
    user http amp really actually back around right put never always another look man"""
STOPWORDS = frozenset(_STOPWORDS.split())


def normalise(text: str, *, emoji_as_words: bool = True) -> str:
    """The text as a model sees it; normalising again changes nothing.

    Repairs mojibake and HTML entities, drops control and invisible characters, replaces mentions
    by `@user` and links by `http`, splits camel-case hashtags, shortens elongations to three
    letters, and spells emoji and emoticons out unless the encoder knows emoji
    (`emoji_as_words=False`).
    """
    # Mending one thing brings another to light: an entity an emoticon, an emoji's name a quote.
    # Bounded, because a text can be built of layers without end.
    for _ in range(PASSES):
        mended = _normalise_once(text, emoji_as_words)
        if mended == text:
            break
        text = mended
    return text


def _normalise_once(text: str, emoji_as_words: bool) -> str:
    if not text.isascii() or "&" in text:
        # ftfy peels one layer a pass, which takes seconds for thousands of them.
        text = _NESTED_ENTITY.sub("&amp;", text)
        text = _CONTROL.sub("", ftfy.fix_text(text, normalization="NFKC"))
    text = _LINK.sub(LINK, text)
    text = _MENTION.sub(MENTION, text)
    text = _HASHTAG.sub(lambda match: "# " + _CAMEL.sub(" ", match[1]).replace("_", " "), text)
    if emoji_as_words:
        text = spell_emoji(text)
    text = _drop_invisible(text)
    text = _ELONGATED.sub(r"\1\1\1", text)
    text = _REPEATED_MARK.sub(r"\1\1\1", text)
    return _SPACE.sub(" ", text).strip()


def spell_emoji(text: str) -> str:
    """Emoji and emoticons as their English names between spaces, skin tones left out."""
    if _MAYBE_EMOTICON.search(text):
        text = _EMOTICON_AT_BOUNDARY.sub(
            lambda match: f" {_EMOTICONS[(match.lastindex or 1) - 1][1]} ", text
        )
    if text.isascii():
        return text
    return emoji.replace_emoji(text, replace=_emoji_words)


def _emoji_words(symbol: str, data: dict[str, str]) -> str:
    name = data["en"].strip(":").replace("_", " ").replace("-", " ")
    return f" {re.sub(r' (?:light|medium light|medium|medium dark|dark) skin tone', '', name)} "


def _drop_invisible(text: str) -> str:
    """Without control, format and unassigned characters, which are invisible but split words."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        " " if char.isspace() else char
        for char in text
        if char.isspace() or unicodedata.category(char) not in {"Cc", "Cf", "Cn", "Co", "Cs"}
    )


def digest(text: str) -> str:
    """SHA-256 (hex) of the normalised, lower-cased text: posts that read alike share it."""
    return hashlib.sha256(normalise(text).lower().encode()).hexdigest()


@cache
def tweet_tokenizer(**options: bool) -> Any:
    """nltk's TweetTokenizer."""
    # Imported here: nltk brings scipy and scikit-learn, half of a web process's start.
    from nltk.tokenize import TweetTokenizer

    return TweetTokenizer(**options)


def words(text: str) -> list[str]:
    """Lower-cased words and hashtags that say something: no stop words, links, mentions, marks."""
    text = _MENTION.sub(" ", _LINK.sub(" ", _drop_invisible(text)))
    tokenizer = tweet_tokenizer(preserve_case=False, reduce_len=True, strip_handles=True)
    return [
        token
        for token in tokenizer.tokenize(text)
        if token.replace("’", "'") not in STOPWORDS
        and len(token) > 2
        and (token[0].isalpha() or (token[0] == "#" and len(token) > 2))
    ]
