"""What posts are sorted into."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import pgettext_lazy


class LabelScheme(models.Model):
    """A set of categories that posts are sorted into. A model version knows exactly one."""

    DEFAULT_KEY = "sentiment"

    key = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.name


# The names that the first migration gives; others are their owners' words.
DEFAULT_NAMES = {
    "Negative": pgettext_lazy("category", "Negative"),
    "Neutral": pgettext_lazy("category", "Neutral"),
    "Positive": pgettext_lazy("category", "Positive"),
}


class Category(models.Model):
    """One label of a scheme."""

    scheme = models.ForeignKey(LabelScheme, on_delete=models.CASCADE, related_name="categories")
    key = models.SlugField()
    name = models.CharField(max_length=100)
    color = models.CharField(
        max_length=7,
        default="#64748b",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", "Give a colour as #rrggbb.")],
    )
    polarity = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(-1), MaxValueValidator(1)],
        help_text="−1 (bad) to 1 (good); empty when the category has none.",
    )
    position = models.PositiveSmallIntegerField(
        default=0, help_text="The order of scores in a model trained for the scheme."
    )

    class Meta:
        ordering = ["scheme", "position", "id"]
        verbose_name_plural = "categories"
        constraints = [
            models.UniqueConstraint(fields=["scheme", "key"], name="category_key_once_a_scheme"),
            models.CheckConstraint(
                condition=Q(polarity__isnull=True) | Q(polarity__gte=-1, polarity__lte=1),
                name="category_polarity_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def title(self) -> str:
        """Its name on pages: a default one in the page's language."""
        return str(DEFAULT_NAMES.get(self.name, self.name))
