"""Sources, streams, gaps, dead letters and usage, as JSON."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers

from api.serializers import StrictSerializer
from ingestion.models import Connection, DailyUsage, DeadLetter, Gap, Stream

NAMES = ("id", "name", "source", "query", "languages", "is_active")


class StreamSerializer(serializers.ModelSerializer):
    """A stream with its live counters, where the view has counted."""

    class Meta:
        model = Stream
        fields = [
            "id",
            "name",
            "source",
            "query",
            "languages",
            "is_active",
            "monthly_budget",
            "over_budget",
            "held_at",
            "held_reason",
            "sample_percent",
            "rule_id",
            "last_error",
            "created_at",
            "updated_at",
        ]
        read_only_fields = [
            "held_at",
            "held_reason",
            "sample_percent",
            "rule_id",
            "last_error",
            "created_at",
            "updated_at",
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """What the model and its constraints say, in the model's words."""
        try:
            self.changed(attrs).full_clean(validate_unique=False)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error
        return attrs

    def changed(self, attrs: dict[str, Any]) -> Stream:
        """The stream as it would be; what a change leaves as it was, for what spans fields."""
        standing = {name: getattr(self.instance, name) for name in NAMES if self.instance}
        return Stream(**{**standing, **attrs})

    def to_representation(self, instance: Stream) -> dict[str, Any]:
        counters = self.context.get("counters", {}).get(instance.pk, {})
        return {**super().to_representation(instance), **counters}


class TrialRequest(StrictSerializer):
    query = serializers.CharField(max_length=1024, allow_blank=True)
    languages = serializers.ListField(
        child=serializers.CharField(min_length=2, max_length=8), default=list, max_length=50
    )
    # A field of that name; DRF means where a value comes from.
    source = serializers.CharField(default="", max_length=16, allow_blank=True)  # type: ignore[assignment]


class TrialResult(serializers.Serializer):
    tried = serializers.IntegerField()
    matched = serializers.IntegerField()
    share = serializers.FloatField()
    examples = serializers.ListField(child=serializers.CharField())
    unsupported = serializers.ListField(child=serializers.CharField())


class StreamVerdict(serializers.Serializer):
    valid = serializers.BooleanField()
    reason = serializers.CharField()
    note = serializers.CharField()


class ConnectionSerializer(serializers.ModelSerializer):
    class Meta:
        model = Connection
        fields = [
            "source",
            "status",
            "covered_until",
            "connected_at",
            "last_event_at",
            "next_attempt_at",
            "received",
            "saved",
            "duplicates",
            "malformed",
            "reconnects",
            "spilled_bytes",
            "last_error",
            "updated_at",
        ]


class GapSerializer(serializers.ModelSerializer):
    completeness = serializers.FloatField(read_only=True, allow_null=True)

    class Meta:
        model = Gap
        fields = [
            "id",
            "source",
            "started_at",
            "ended_at",
            "cause",
            "detail",
            "state",
            "filled_by",
            "recovered",
            "expected",
            "completeness",
            "attempts",
            "next_attempt_at",
            "note",
        ]


class DeadLetterSerializer(serializers.ModelSerializer):
    excerpt = serializers.SerializerMethodField()
    is_whole = serializers.BooleanField(read_only=True)

    class Meta:
        model = DeadLetter
        fields = [
            "id",
            "source",
            "received_at",
            "reason",
            "excerpt",
            "size",
            "is_whole",
            "replayed_at",
            "outcome",
        ]

    def get_excerpt(self, letter: DeadLetter) -> str:
        """As text; bytes that are no UTF-8 become U+FFFD."""
        return bytes(letter.excerpt).decode("utf-8", "replace")


class DailyUsageSerializer(serializers.ModelSerializer):
    cost_usd = serializers.SerializerMethodField()

    class Meta:
        model = DailyUsage
        fields = ["id", "source", "day", "stream", "posts_read", "looked_up", "cost_usd"]

    def get_cost_usd(self, row: DailyUsage) -> float:
        price: float = self.context["prices"].get(row.source, 0.0)
        return round((row.posts_read + row.looked_up) * price, 4)
