"""Writing many things of which the database refuses one: the others are written all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError

from ingestion.services.posts import Stored

Item = TypeVar("Item")
Result = TypeVar("Result")

# The database is away: nothing is wrong with what was to be written.
AWAY = (OperationalError, InterfaceError)
# What the database, its driver or JSON says of a value that it does not take.
REFUSED = (DatabaseError, ValueError, TypeError, ArithmeticError, RecursionError)


def write_all(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], Result],
    set_aside: Callable[[Item, Exception], object],
) -> list[Result]:
    """Do `write` for all items at once or, where one is refused, for parts that lack it.

    Each refused one goes to `set_aside`. `write` must be safe to repeat. Raises what tells that
    the database is away.
    """
    try:
        return [write(items)]
    except AWAY:
        raise
    except REFUSED as error:
        if len(items) <= 1:
            for item in items:
                set_aside(item, error)
            return []
    # One of them is poison: halves find it.
    middle = len(items) // 2
    first = write_all(items[:middle], write, set_aside)
    return first + write_all(items[middle:], write, set_aside)


def together(parts: Iterable[Stored]) -> Stored:
    """What became of the parts of a batch, as of one."""
    whole = Stored()
    for part in parts:
        for each in fields(Stored):
            setattr(whole, each.name, getattr(whole, each.name) + getattr(part, each.name))
    return whole
