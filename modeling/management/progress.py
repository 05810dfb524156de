"""Progress bars that several commands share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def training_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error; yields what a training reports to: share done and a message."""
    with tqdm(total=100, bar_format="{percentage:3.0f}% |{bar:30}| {elapsed} {desc}") as bar:

        def show(share: float, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            bar.update(round(share * 100) - bar.n)

        yield show
