"""The site that is photographed: trained models, a seeded day, and posts that go on to come.

`python -m tests.screenshots.site models` trains the models that the pages compare;
`… serve PORT` seeds a day and serves until it is stopped. Both keep to VAR_DIR.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.screenshots.rows import Stories

# A small encoder without knowledge, trained for seconds: what one might have begun with.
SMALL = {"max_length": 48, "epochs": 12, "learning_rate": 3e-3, "batch_size": 32}
LOGIN = ("demo", "only-for-screenshots")


def models(folder: Path) -> None:
    """Version 1, small; version 2, the starter model, which takes its place; version 3, small."""
    from sentiment_site import bootstrap
    from tests.tiny import make_base_model

    bootstrap.run(sys.stderr, build_model=False)
    base = folder / "small-encoder"
    base.mkdir(exist_ok=True)
    small = {**SMALL, "base_model": str(make_base_model(base))}
    _train("a first, small model", small)
    _train("starter model", {})
    _train("does a small one do?", {**small, "epochs": 4, "seed": 3})


def _train(reason: str, arguments: dict[str, Any]) -> None:
    from modeling.management.progress import training_bar
    from modeling.models import LabelScheme
    from modeling.services import train

    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    options = {"arguments": arguments} if arguments else {}
    run = train.request_training(scheme, reason=reason, options=options)
    with training_bar() as progress:
        train.execute(run.pk, progress=progress)


def serve(port: int) -> None:
    """Seed, and serve with a few more posts a second, until a signal ends it."""
    from django.contrib.auth.models import User

    from sentiment_site import demo
    from tests.screenshots.rows import age_models, seed

    User.objects.create_superuser(*(LOGIN[0], None, LOGIN[1]))
    age_models()
    stories, stop = seed(), threading.Event()
    telling = threading.Thread(target=_go_on, args=(stories, stop), daemon=True)
    telling.start()
    try:
        demo.serve("127.0.0.1", port)
    finally:
        stop.set()
        telling.join(10)


def _go_on(stories: Stories, stop: threading.Event) -> None:
    from django.db import connections
    from django.utils import timezone

    from ingestion.models import Connection
    from ingestion.services import store
    from modeling.services import classify
    from tests.screenshots.rows import PAUSE_SECONDS

    try:
        while not stop.wait(PAUSE_SECONDS):
            stored = store(stories.posts([timezone.now()]), announce=False)
            classify.classify_posts(stored.post_ids)
            Connection.objects.update(last_event_at=timezone.now())
    finally:
        connections.close_all()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")
    import_module("django").setup()
    if sys.argv[1] == "models":
        models(Path(os.environ["VAR_DIR"]))
    else:
        serve(int(sys.argv[2]))
