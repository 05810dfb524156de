"""How the incoming posts compare with what the champion knows."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from modeling.models.schemes import LabelScheme
from modeling.models.versions import ModelVersion


class QualityReport(models.Model):
    """The state of a window of posts against the champion's training reference."""

    scheme = models.ForeignKey(LabelScheme, on_delete=models.CASCADE, related_name="reports")
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.SET_NULL, null=True, related_name="reports"
    )
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    post_count = models.PositiveIntegerField(default=0)
    statistics = models.JSONField(
        default=dict, help_text="Name → value, threshold and verdict (ok, drift, too_few)."
    )
    summary = models.JSONField(default=dict, help_text="Counts, shares and confidence.")
    accuracy = models.JSONField(
        default=dict,
        blank=True,
        help_text="Estimated without labels, with its interval; the true one once labels came.",
    )
    has_drift = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(window_end__gte=models.F("window_start")), name="report_window_order"
            ),
        ]
        indexes = [models.Index(fields=["scheme", "-created_at"], name="report_newest")]

    def __str__(self) -> str:
        return f"{self.window_start:%Y-%m-%d %H:%M} to {self.window_end:%Y-%m-%d %H:%M}"
