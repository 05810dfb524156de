"""Sources, streams, gaps, dead letters and usage, as JSON."""

from __future__ import annotations

from copy import copy
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from api.serializers import StrictSerializer
from ingestion.models import Connection, DailyUsage, DeadLetter, Gap, Stream, source_choices
from ingestion.selectors import stream_counters
from ingestion.services.trial import EXAMPLES


class StreamSerializer(StrictSerializer, serializers.ModelSerializer):
    """A stream with its live counters: those of the context, which a list has counted at once."""

    posts_today = serializers.IntegerField(read_only=True)
    posts_month = serializers.IntegerField(read_only=True)
    posts_total = serializers.IntegerField(read_only=True)
    last_post_at = serializers.DateTimeField(read_only=True, allow_null=True)
    cost_month_usd = serializers.FloatField(read_only=True)
    note = serializers.CharField(
        read_only=True, default="", help_text="Why the query was not checked before it was saved."
    )

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
            "posts_today",
            "posts_month",
            "posts_total",
            "last_post_at",
            "cost_month_usd",
            "note",
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
        # A copy of the row itself, so that it is not its own rival for what must be unique.
        stream = copy(self.instance) if isinstance(self.instance, Stream) else Stream()
        for name, value in attrs.items():
            setattr(stream, name, value)
        return stream

    def to_representation(self, instance: Stream) -> dict[str, Any]:
        counters = self.context.get("counters", {}).get(instance.pk)
        if counters is None:
            counters = stream_counters([instance])[instance.pk]
        for name, value in counters.items():
            setattr(instance, name, value)
        return super().to_representation(instance)


@extend_schema_serializer(component_name="Trial")
class TrialRequest(StrictSerializer):
    query = serializers.CharField(max_length=1024, allow_blank=True)
    languages = serializers.ListField(
        child=serializers.CharField(min_length=2, max_length=8), default=list, max_length=50
    )
    # A field of that name; DRF means where a value comes from.
    source = serializers.ChoiceField(choices=source_choices(), default="", allow_blank=True)  # type: ignore[assignment]
    limit = serializers.IntegerField(default=EXAMPLES, min_value=0, max_value=EXAMPLES)


class TrialResult(serializers.Serializer):
    tried = serializers.IntegerField()
    matched = serializers.IntegerField()
    share = serializers.FloatField()
    examples = serializers.ListField(child=serializers.CharField())
    unsupported = serializers.ListField(child=serializers.CharField())
    of = serializers.CharField(help_text="Whose posts were judged; empty: those of all sources.")
    posts_per_day = serializers.FloatField(
        allow_null=True, help_text="At least; null where the source has too few posts here."
    )
    cost_month_usd = serializers.FloatField(allow_null=True, help_text="Of 30 days.")


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
