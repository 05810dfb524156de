"""Streams and what is known of their sources, under `/api/v1/`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction
from drf_spectacular.utils import (
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_view,
)
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from api import filters
from api.authentication import actor
from api.permissions import IsAllowed, MayWrite
from api.resources import Listed, ReadOnly
from api.source_serializers import (
    ConnectionSerializer,
    DailyUsageSerializer,
    DeadLetterSerializer,
    GapSerializer,
    StreamSerializer,
    StreamVerdict,
    TrialRequest,
    TrialResult,
)
from ingestion import tasks
from ingestion.exceptions import BadQuery, QueryTaken
from ingestion.models import Connection, DailyUsage, DeadLetter, Gap, Source, Stream
from ingestion.selectors import stream_counters
from ingestion.services import (
    Verdict,
    delete_streams,
    judge_stream,
    save_stream,
    switch_streams,
)
from ingestion.services.dead_letters import replay
from ingestion.services.gaps import ask_to_fill
from ingestion.services.trial import try_query
from ingestion.services.usage import price

DRY_RUN = OpenApiParameter(
    "dry_run", bool, description="Only judge the stream; nothing is saved or changed."
)


CHANGED = PolymorphicProxySerializer(
    "StreamOrVerdict", [StreamSerializer, StreamVerdict], resource_type_field_name=None
)


@extend_schema_view(
    create=extend_schema(
        parameters=[DRY_RUN], responses={201: StreamSerializer, 200: StreamVerdict}
    ),
    update=extend_schema(parameters=[DRY_RUN], responses=CHANGED),
    partial_update=extend_schema(parameters=[DRY_RUN], responses=CHANGED),
)
class StreamViewSet(Listed, viewsets.ModelViewSet):
    """What people follow. A change reaches the source within seconds."""

    queryset = Stream.objects.all()
    serializer_class = StreamSerializer
    filterset_class = filters.StreamFilter
    ordering_fields = ("id", "name", "created_at")
    permission_classes = [MayWrite]
    write_permission = "ingestion.change_stream"
    _counters: dict[int, dict[str, Any]] = {}

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "counters": self._counters}

    def rows(self, instances: Sequence[Stream]) -> Any:
        self._count(instances)
        return super().rows(instances)

    def get_object(self) -> Stream:
        stream: Stream = super().get_object()
        self._count([stream])
        return stream

    def _count(self, streams: Sequence[Stream]) -> None:
        self._counters = stream_counters(streams)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if (verdict := self._dry_run(request)) is not None:
            return verdict
        return super().create(request, *args, **kwargs)

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if (verdict := self._dry_run(request, kwargs.get("partial", False))) is not None:
            return verdict
        return super().update(request, *args, **kwargs)

    def _dry_run(self, request: Request, partial_update: bool = False) -> Response | None:
        """What the source says, when only that was asked for."""
        if request.query_params.get("dry_run", "").lower() not in {"1", "true", "yes"}:
            return None
        instance = None if request.method == "POST" else self.get_object()
        serializer: Any = self.get_serializer(instance, data=request.data, partial=partial_update)
        serializer.is_valid(raise_exception=True)
        verdict = judge_stream(serializer.changed(serializer.validated_data))
        said = {"valid": not verdict.reason, "reason": verdict.reason, "note": verdict.note}
        return Response(StreamVerdict(said).data)

    def perform_create(self, serializer: serializers.BaseSerializer) -> None:
        self._save(serializer)

    def perform_update(self, serializer: serializers.BaseSerializer) -> None:
        self._save(serializer)

    def _save(self, serializer: Any) -> None:
        """Save what the source takes; where it cannot be asked, save all the same."""
        stream = serializer.changed(serializer.validated_data)
        verdict = judge_stream(stream) if stream.is_active else Verdict()
        if verdict.reason:
            raise ValidationError({"query": verdict.reason})
        before = [serializer.instance.source] if serializer.instance else []
        # Asking the source took seconds: what is not to be changed is as it is now.
        fields = list(serializer.validated_data) if serializer.instance else None
        saved: Any = save_stream(stream, by=actor(self.request), fields=fields)
        serializer.instance = saved
        saved.note = verdict.note
        for source in {*before, saved.source}:
            _sync(source)

    def perform_destroy(self, instance: Stream) -> None:
        source = instance.source
        delete_streams([instance], by=actor(self.request))
        _sync(source)

    @extend_schema(request=None, responses=StreamSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str | None = None) -> Response:
        """Follow it no more, until it is resumed."""
        return self._switch(is_active=False)

    @extend_schema(request=None, responses=StreamSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str | None = None) -> Response:
        """Follow it again."""
        return self._switch(is_active=True)

    def _switch(self, *, is_active: bool) -> Response:
        stream = self.get_object()
        try:
            switch_streams([stream.pk], is_active=is_active, by=actor(self.request))
        except QueryTaken as error:
            raise ValidationError({"query": str(error)}) from error
        _sync(stream.source)
        stream.refresh_from_db()
        return Response(self.get_serializer(stream).data)

    @extend_schema(request=TrialRequest, responses=TrialResult, filters=False)
    @action(
        detail=False,
        methods=["post"],
        url_path="try",
        pagination_class=None,
        permission_classes=[IsAllowed],
    )
    def trial(self, request: Request) -> Response:
        """How many of the newest stored posts a query matches, before anybody pays for it."""
        asked = TrialRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            trial = try_query(**asked.validated_data)
        except BadQuery as error:
            raise ValidationError({"query": str(error)}) from error
        return Response(TrialResult(trial).data)


def _sync(source: str) -> None:
    transaction.on_commit(partial(tasks.sync_streams.delay, source))


class ConnectionViewSet(ReadOnly):
    """How each source's connection fares."""

    queryset = Connection.objects.all()
    serializer_class = ConnectionSerializer
    filterset_fields = ["source", "status"]


class GapViewSet(ReadOnly):
    """Outages: when nothing came, why, and what was got back."""

    queryset = Gap.objects.all()
    serializer_class = GapSerializer
    filterset_class = filters.GapFilter
    permission_classes = [MayWrite]
    write_permission = "ingestion.change_gap"

    @extend_schema(request=None, responses=GapSerializer)
    @action(detail=True, methods=["post"])
    def fill(self, request: Request, pk: str | None = None) -> Response:
        """Have it filled now, at the source's price."""
        gap = self.get_object()
        if not ask_to_fill([gap.pk]):
            raise ValidationError(
                {"state": f"A gap that is {gap.get_state_display()} waits for nothing."}
            )
        gap.refresh_from_db()
        return Response(self.get_serializer(gap).data, status=status.HTTP_202_ACCEPTED)


class DeadLetterViewSet(ReadOnly):
    """Messages that could not be understood."""

    queryset = DeadLetter.objects.all()
    serializer_class = DeadLetterSerializer
    filterset_fields = ["source"]
    permission_classes = [MayWrite]
    write_permission = "ingestion.change_deadletter"

    @extend_schema(request=None, responses=DeadLetterSerializer)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str | None = None) -> Response:
        """Read it again, as if it came now."""
        letter = self.get_object()
        replay([letter.pk])
        letter.refresh_from_db()
        return Response(self.get_serializer(letter).data)


class DailyUsageViewSet(ReadOnly):
    """Posts read and their cost, a day and stream; without a stream it is the whole source's."""

    queryset = DailyUsage.objects.all()
    serializer_class = DailyUsageSerializer
    filterset_class = filters.UsageFilter

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "prices": {Source.X: price(Source.X)}}
