"""Posts that make classifying fail: found, kept from the others, and set aside.

Whoever sweeps up unclassified posts notes first which ones it takes. Death by one of them, out of
memory or by a fault in a library, leaves the note behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

from django.db import DatabaseError
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from ingestion.services.alerts import close_alert, raise_alert
from modeling.exceptions import ModelingError
from modeling.ml.artifact import ArtifactError
from modeling.models import Attempt, LabelScheme, Prediction

logger = logging.getLogger(__name__)

# No sweep thinks for so long about what it took: who has, is dead.
LONGEST = timedelta(seconds=60)
ALERT = "unclassifiable"


def begin(scheme: LabelScheme, post_ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Note an attempt at these posts; those to try together, and those to try alone.

    Left out are posts that somebody tries now, and those that have been given up.
    """
    now = timezone.now()
    rows = Attempt.objects.filter(scheme=scheme)
    noted = set(rows.filter(post__in=post_ids).values_list("post_id", flat=True))
    together = [post_id for post_id in post_ids if post_id not in noted]
    again = rows.filter(post__in=noted, count__lt=Attempt.MOST).ended(now - LONGEST)
    alone = sorted(again.values_list("post_id", flat=True)) if noted else []
    Attempt.objects.bulk_create(
        (Attempt(post_id=post_id, scheme=scheme, started_at=now) for post_id in together),
        # Another sweep was quicker: whoever stores first has judged the post.
        ignore_conflicts=True,
    )
    return together, alone


@contextmanager
def noted(
    scheme: LabelScheme, post_ids: Sequence[int], check_model: Callable[[], object]
) -> Iterator[None]:
    """Carry out an attempt that `begin` has noted. Success takes the note away.

    So does what no post is to blame for, and is raised: a model or a database that is away, or a
    model that fails on any text, as `check_model` tells by raising.
    """
    rows = Attempt.objects.filter(scheme=scheme, post__in=post_ids)
    if len(post_ids) == 1:
        # Those that were left behind: `begin` counts the first attempt only.
        rows.ended(timezone.now() - LONGEST).update(
            count=F("count") + 1, started_at=timezone.now(), error=""
        )
    try:
        yield
    except (ModelingError, ArtifactError, DatabaseError):
        _take_back(rows)
        raise
    except Exception as error:
        try:
            check_model()
        except Exception:
            _take_back(rows)
            raise
        said = f"{type(error).__name__}: {error}"[:500]
        logger.exception("classifying %d posts failed: each is tried alone", len(post_ids))
        rows.update(error=said)
    else:
        rows.delete()


def _take_back(rows: QuerySet[Attempt]) -> None:
    with suppress(DatabaseError):
        rows.filter(count=1).delete()
        rows.update(count=F("count") - 1)


def tell(scheme: LabelScheme) -> None:
    """Raise or close the alert about posts that were given up; others' notes go once they are
    classified."""
    judged = Prediction.objects.serving().filter(post=OuterRef("post"), scheme=scheme)
    Attempt.objects.filter(Exists(judged), scheme=scheme).delete()
    given_up = Attempt.objects.filter(scheme=scheme).given_up().ended(timezone.now() - LONGEST)
    if count := given_up.count():
        raise_alert(
            ALERT,
            f"{count} posts make the model fail and were set aside: see Posts that resist "
            "classifying in the admin",
            key=scheme.key,
        )
    else:
        close_alert(ALERT, scheme.key, "no post is set aside any more")
