"""Weights & Biases: the figures of a training, for whoever has an account there.

MLflow is the registry; this is a copy for people to look at. So nothing here ever stops a
training: what fails is a warning. The client runs in a process of its own, because it waits for a
server that is away without end, and takes signals and output for itself.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

logger = logging.getLogger(__name__)

# A client that has not handed its figures over by then is stopped.
TIMEOUT_SECONDS = 120
MISSING = "Weights & Biases is asked for but not installed: run `pip install wandb`"


def is_wanted() -> bool:
    """Whether a key or the offline mode is set."""
    if settings.WANDB_MODE == "disabled":
        return False
    return bool(settings.WANDB_API_KEY) or settings.WANDB_MODE == "offline"


def is_installed() -> bool:
    """Whether the optional package is there."""
    return importlib.util.find_spec("wandb") is not None


def log_training(
    *,
    name: str,
    group: str,
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    summary: Mapping[str, Any],
    images: Sequence[Path] = (),
) -> bool:
    """Log a training's settings, its figures by epoch and at the end, and pictures.

    Returns whether it was logged; never raises. Without `is_wanted()` it does nothing.
    """
    if not is_wanted():
        return False
    if not is_installed():
        logger.warning("%s; training run %s is not logged there", MISSING, name)
        return False
    message = {
        "project": settings.WANDB_PROJECT,
        "name": name,
        "group": group,
        "mode": settings.WANDB_MODE or "online",
        "folder": str(settings.WANDB_DIR),
        "config": dict(config),
        "history": [dict(epoch) for epoch in history],
        "summary": dict(summary),
        "images": {path.stem: str(path) for path in images},
    }
    return _send(name, json.dumps(message, default=str))


def _send(name: str, message: str) -> bool:
    # The key may come from a file: then the environment does not have it.
    secret = {"WANDB_API_KEY": settings.WANDB_API_KEY} if settings.WANDB_API_KEY else {}
    try:
        Path(settings.WANDB_DIR).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "modeling.wandb_client"],
            input=message,
            env={**os.environ, **secret},
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        logger.warning("Weights & Biases did not take training run %s: %s", name, error)
        return False
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        logger.warning("Weights & Biases did not take training run %s: %s", name, reason)
        return False
    return True
