"""Progress bars that several commands share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

FORMAT = "{percentage:3.0f}% |{bar:30}| {elapsed}<{remaining} {desc}"


@contextmanager
def training_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error with the time left; yields what a training reports to: share done
    and a message."""
    # Without smoothing: the last step's speed says little about the hours to come.
    with tqdm(total=100.0, bar_format=FORMAT, smoothing=0) as bar:

        def show(share: float, message: str) -> None:
            if bar.n == 0 and share > 0:
                # A training that goes on: what was done before tells nothing about speed.
                bar.initial = bar.n = share * 100
            bar.set_description_str(message, refresh=False)
            bar.update(share * 100 - bar.n)

        yield show
