"""What Mastodon's timelines held while nobody listened: asked for page by page, oldest first."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from ingestion.exceptions import NeedsAttention, RateLimited, SourceError
from ingestion.sources import mastodon_positions

logger = logging.getLogger(__name__)

# 40 statuses each.
MAX_PAGES = 200
# A status can reach its instance so late, and is then below those that are there already.
LATE_SECONDS = 120.0
OVERLAP = timedelta(seconds=5)
# For the server to be asked again, when it has trouble or has been asked too often.
PATIENCE_SECONDS = 900.0
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0


class Pages(Protocol):
    def page(self, timeline: str, after: str) -> Sequence[Mapping[str, Any]]:
        """Statuses after this id, oldest first; none when there are no more."""

    def newest(self, timeline: str) -> str:
        """The id of the newest status; "" where there is none."""


@dataclass(frozen=True, slots=True)
class Page:
    """Statuses of a timeline, oldest first, and the id of the last."""

    timeline: str
    statuses: Sequence[Mapping[str, Any]]
    newest: str


@dataclass(frozen=True, slots=True)
class CaughtUpWith:
    """Nothing more is to come of a timeline's past; `note` says what is missing.

    `newest` is where a timeline that nobody has read before begins.
    """

    timeline: str
    note: str = ""
    newest: str = ""


class History:
    """One thread that asks, so that what comes live is not held up."""

    def __init__(
        self,
        pages: Pages,
        put: Callable[[Page | CaughtUpWith], None],
        is_read: Callable[[str], bool],
    ) -> None:
        self._pages = pages
        self._put = put
        self._is_read = is_read
        self._jobs: queue.Queue[tuple[str, str, datetime | None] | None] = queue.Queue()
        self._stopped = threading.Event()
        self._deadline = 0.0

    def start(self, opened: Mapping[str, datetime], behind: Mapping[str, str]) -> None:
        """Find where new timelines begin, then catch up with the others."""
        for timeline in sorted(opened, key=lambda name: name in behind):
            self._jobs.put((timeline, behind.get(timeline, ""), opened[timeline]))
        self._deadline = time.monotonic() + PATIENCE_SECONDS
        threading.Thread(target=self._work, name="mastodon history", daemon=True).start()

    def begin(self, timeline: str) -> None:
        """Find where a timeline begins that has been opened later."""
        self._jobs.put((timeline, "", None))

    def stop(self) -> None:
        self._stopped.set()
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped.is_set():
            timeline, after, opened = job
            if after and opened is not None:
                self._put(CaughtUpWith(timeline, self._catch_up(timeline, after, opened)))
            else:
                self._find_beginning(timeline)

    def _find_beginning(self, timeline: str) -> None:
        try:
            newest = self._pages.newest(timeline) or mastodon_positions.NOTHING
        except SourceError as error:
            # The first status that comes live will do.
            logger.warning("the beginning of %s is not known: %s", timeline, error)
        else:
            self._put(CaughtUpWith(timeline, newest=newest))

    def _catch_up(self, timeline: str, after: str, opened: datetime) -> str:
        """What is missing in the end, "" when nothing is."""
        after = mastodon_positions.rewound(after, LATE_SECONDS)
        for _ in range(MAX_PAGES):
            try:
                page = self._patiently(timeline, after)
            except SourceError as error:
                return f"{timeline} after {_when(after)}: {error}"
            if page is None or page.newest == after:
                return ""
            self._put(page)
            after = page.newest
            # A busy timeline never ends; from here on the open connection delivers.
            if is_after(page, opened + OVERLAP):
                return ""
        return f"{timeline}: too much was missed; what came after {_when(after)} is left out"

    def _patiently(self, timeline: str, after: str) -> Page | None:
        """The next page, asked for again until patience ends. Raises SourceError then."""
        wait = FIRST_WAIT
        while self._is_read(timeline):
            try:
                return ask(self._pages, timeline, after)
            except NeedsAttention:
                raise
            except SourceError as error:
                delay = _delay(error, wait)
                if time.monotonic() + delay > self._deadline:
                    raise
                logger.warning("%s is asked again in %.0f s: %s", timeline, delay, error)
                self._stopped.wait(delay)
                wait = min(LONGEST_WAIT, wait * 2)
        return None


def ask(pages: Pages, timeline: str, after: str) -> Page | None:
    """The statuses that follow an id; None when there are none. Raises SourceError."""
    statuses = pages.page(timeline, after)
    if not statuses:
        return None
    newest = max((str(item.get("id")) for item in statuses), key=mastodon_positions.order)
    return Page(timeline, statuses, mastodon_positions.later(newest, after))


def walk(pages: Pages, timeline: str, after: str) -> Iterator[Page]:
    """Page after page, up to the present. Raises SourceError."""
    while (page := ask(pages, timeline, after)) is not None and page.newest != after:
        yield page
        after = page.newest


def is_after(page: Page, moment: datetime) -> bool:
    """Whether a page ends later than this moment: by its last id, and by when that was written.

    Ids may come from another clock than Mastodon's.
    """
    by_id = mastodon_positions.moment(page.newest)
    written = _written(page.statuses[-1])
    return by_id is not None and written is not None and min(by_id, written) > moment


def _written(item: Mapping[str, Any]) -> datetime | None:
    with suppress(ValueError, TypeError):
        moment = datetime.fromisoformat(str(item.get("created_at")))
        return moment if moment.tzinfo else None
    return None


def _when(identity: str) -> str:
    moment = mastodon_positions.moment(identity)
    return identity if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _delay(error: SourceError, otherwise: float) -> float:
    if isinstance(error, RateLimited) and error.retry_at is not None:
        return max(FIRST_WAIT, error.retry_at - time.time())
    return otherwise
