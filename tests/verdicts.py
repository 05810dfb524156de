"""Verdicts of the gate as they stand on rows, for tests of those who act on them."""

from __future__ import annotations

from typing import Any

from modeling import serving
from modeling.models import LabelScheme
from modeling.services import held_out
from modeling.services.dataset import gather


def refusal(scheme: LabelScheme, reason: str = "it falls", champion: int = 1) -> dict[str, Any]:
    """That a version was refused, held against the champion on what is held out now."""
    return {
        **{"passed": False, "reason": reason, "champion": champion},
        "backend": serving.backend_name(),
        "test_set": held_out.digest(gather(scheme)),
    }
