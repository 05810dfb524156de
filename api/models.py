"""Who programs are."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from django.conf import settings
from django.db import models
from django.utils import timezone

from ingestion.models import Audited

MARK = "sent_"
SHOWN_CHARACTERS = 12


def digest_of(secret: str) -> str:
    """What is kept of a token: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def valid(self, now: datetime | None = None) -> ApiTokenQuerySet:
        """Not revoked, not expired, of a user who may sign in."""
        now = now or timezone.now()
        return self.filter(revoked_at__isnull=True, user__is_active=True).exclude(
            expires_at__lte=now
        )


class ApiToken(Audited):
    """A program's key. Its scopes alone say what it may do; its labels bear the name of `user`."""

    class Scope(models.TextChoices):
        READ = "read", "read: lists, charts' numbers, health in full, metrics"
        PREDICT = "predict", "predict: classify texts"
        ANNOTATE = "annotate", "annotate: label posts"
        ADMIN = "admin", "admin: everything"

    AUDITED = ("name", "scopes", "user_id", "expires_at", "revoked_at")

    name = models.CharField(max_length=100, help_text="What uses it.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    scopes = models.CharField(max_length=100, help_text="Names with spaces between them.")
    prefix = models.CharField(max_length=SHOWN_CHARACTERS, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        help_text="Empty: made on the command line.",
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )
    last_used_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Right to a minute."
    )

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = "API token"
        constraints = [
            models.CheckConstraint(condition=~models.Q(scopes=""), name="token_has_scope"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def draw_secret(self) -> str:
        """A new secret, returned this once; the row keeps its hash and its first characters."""
        secret = MARK + secrets.token_urlsafe(32)
        self.digest = digest_of(secret)
        self.prefix = secret[:SHOWN_CHARACTERS]
        return secret

    def allows(self, scope: str) -> bool:
        granted = self.scopes.split()
        return scope in granted or self.Scope.ADMIN in granted
