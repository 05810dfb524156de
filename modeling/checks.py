"""System checks of the settings that training needs."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register

from modeling import tracking


@register
def check_tracking(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Weights & Biases needs a package of its own."""
    if not tracking.is_wanted() or tracking.is_installed():
        return []
    return [
        Warning(
            f"{tracking.MISSING}.",
            hint="Or take WANDB_API_KEY and WANDB_MODE away; trainings go on without it.",
            id="modeling.W001",
        )
    ]
