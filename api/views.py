"""The root routes: predictions, retraining, health, what serves."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import Any

from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django_prometheus.exports import ExportToDjangoView
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework import status
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from api import examples, health, ndjson, permissions
from api.exceptions import problem_response, safe_only
from api.parsers import NDJSONParser
from api.permissions import Scope
from api.serializers import (
    BatchRequest,
    BatchResult,
    InfluenceSerializer,
    ModelVersionSerializer,
    NewestReportSerializer,
    NoReport,
    PredictionResult,
    PredictRequest,
    RetrainRequest,
)
from modeling import serving
from modeling.exceptions import NoChampion
from modeling.models import LabelScheme, ModelVersion
from modeling.services import classify, retrain
from modeling.services.explain import explain_text
from modeling.serving import Classification
from modeling.tasks import hand_over

ROUTES = {
    "POST /predict": "classify one text",
    "POST /predict/batch": "classify up to 1,000 texts",
    "POST /api/v1/predictions/stream": "classify lines of JSON, as many as come",
    "POST /retrain": 'run the retraining check; {"force": true} skips its triggers',
    "GET /model/info": "the version that serves",
    "GET /data/quality": "the newest quality and drift report",
    "GET /health": "database, broker, model and streams",
    "GET /metrics": "Prometheus metrics",
    "GET /docs": "interactive documentation",
    "GET /schema": "OpenAPI 3.1",
    "GET /api/v1/": "streams, connections, gaps, dead-letters, usage, posts, predictions, "
    "annotations, models, training-runs, experiments, reports, alerts",
}


HEALTH = {
    "status": "ok",
    "database": "ok",
    "broker": "ok",
    "model": {"version": "4", "loaded": True, "backend": "onnx-int8"},
    "streams": [{"source": "x", "status": "connected", "lag_seconds": 0.4}],
}


def _told(when: str, example: dict[str, Any]) -> OpenApiResponse:
    return OpenApiResponse(OpenApiTypes.OBJECT, when, [OpenApiExample("An answer", example)])


def _valid(serializer: Serializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    valid: dict[str, Any] = serializer.validated_data
    return valid


def _as_result(item: Classification) -> dict[str, Any]:
    result: dict[str, Any] = {
        "label": item.label,
        "confidence": round(item.confidence, 6),
        "scores": item.scores,
    }
    if item.truncated:
        result["truncated"] = True
    return result


def as_single_result(batch: classify.Batch) -> dict[str, Any]:
    """The answer to one text."""
    return {
        **_as_result(batch.items[0]),
        "model_version": batch.version,
        "latency_ms": batch.latency_ms,
    }


def as_batch_result(batch: classify.Batch) -> dict[str, Any]:
    """The answer to many texts, in their order."""
    shared = {"model_version": batch.version, "latency_ms": batch.latency_ms}
    return {"predictions": [{**_as_result(item), **shared} for item in batch.items], **shared}


def _require_version(wanted: str) -> None:
    """Refuse to answer by another version than the one that was asked for."""
    serves = serving.champion().version
    if wanted not in {"champion", serves}:
        raise ValidationError({"version": f"{wanted} does not serve here: {serves} does."})


def _chosen(result: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    if options["all_scores"]:
        return result
    return {key: value for key, value in result.items() if key != "scores"}


class PredictView(APIView):
    """Classify one text."""

    scope = Scope.PREDICT

    @extend_schema(
        request=PredictRequest,
        responses={200: PredictionResult},
        examples=[
            OpenApiExample(
                "A happy customer", {"text": "I love this amazing product!"}, request_only=True
            )
        ],
    )
    def post(self, request: Request) -> Response:
        data = _valid(PredictRequest(data=request.data))
        _require_version(data["version"])
        if not data["explain"]:
            batch = classify.classify_texts([data["text"]], channel="api")
            return Response(_chosen(as_single_result(batch), data))
        batch, influences = explain_text(data["text"], channel="api")
        explanation = InfluenceSerializer(influences, many=True).data
        return Response({**_chosen(as_single_result(batch), data), "explanation": explanation})


class PredictBatchView(APIView):
    """Classify 1 to 1,000 texts; predictions come in their order."""

    scope = Scope.PREDICT

    @extend_schema(
        request=BatchRequest,
        responses={200: BatchResult},
        examples=[
            OpenApiExample(
                "Two texts",
                {"texts": ["Great service!", "Two hours late again"]},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        data = _valid(BatchRequest(data=request.data))
        _require_version(data["version"])
        result = as_batch_result(classify.classify_texts(data["texts"], channel="api"))
        result["predictions"] = [_chosen(item, data) for item in result["predictions"]]
        return Response(result)


class PredictStreamView(APIView):
    """Classify texts without end: a line of JSON in, a line of JSON out while more come in.

    A line is `{"text": "…", "id": "…"}` (`id` is yours, and comes back) or a JSON string. A
    bad line is answered by its number and what is wrong with it. Read the answer while you send,
    as `curl -T` does: what nobody reads stops the reading here.
    """

    scope = Scope.PREDICT
    parser_classes = [NDJSONParser]

    @extend_schema(
        request={ndjson.MEDIA_TYPE: OpenApiTypes.STR},
        responses={(200, ndjson.MEDIA_TYPE): OpenApiTypes.STR},
        examples=[
            OpenApiExample(
                "Two lines",
                '{"id": 7, "text": "Great service!"}\n"Two hours late again"\n',
                request_only=True,
                media_type=ndjson.MEDIA_TYPE,
            ),
            OpenApiExample(
                "Two judgements",
                '{"line":1,"id":7,"label":"positive","confidence":0.98,"scores":{"negative":0.01,'
                '"neutral":0.01,"positive":0.98},"model_version":"3"}\n'
                '{"line":2,"error":"text: The text is empty."}\n',
                response_only=True,
                media_type=ndjson.MEDIA_TYPE,
            ),
        ],
    )
    def post(self, request: Request) -> StreamingHttpResponse:
        # Under ASGI `api.asgi` answers before Django has read the body; this is for WSGI.
        # Of an empty body the framework makes a dictionary.
        body: Any = request.data or BytesIO()
        answers = (
            ndjson.answer(block, self._judge(ndjson.texts_of(block)))
            for block in ndjson.blocks(ndjson.lines_of(body))
        )
        return StreamingHttpResponse(answers, content_type=ndjson.MEDIA_TYPE)

    def _judge(self, texts: list[str]) -> classify.Batch | None:
        return classify.classify_texts(texts, channel="api") if texts else None


class RetrainView(APIView):
    """Run the retraining check: 202 with a run, or 200 and why none is needed."""

    permission_classes = [permissions.MayWrite]
    write_permission = "modeling.add_trainingrun"

    @extend_schema(
        request=RetrainRequest,
        responses={
            200: _told(
                "No trigger fired, or the check waits after a run that came to nothing.",
                {
                    "status": "not_needed",
                    "reason": "no trigger fired",
                    "triggers": examples.QUIET_TRIGGERS,
                },
            ),
            202: _told(
                "A run is queued, or runs.",
                {
                    "run": 12,
                    "status": "queued",
                    "reason": "triggered by labels",
                    "triggers": examples.TRIGGERS,
                },
            ),
        },
    )
    def post(self, request: Request) -> Response:
        data = _valid(RetrainRequest(data=request.data if request.data is not None else {}))
        user = request.user if request.user.is_authenticated else None
        decision = retrain.check(_scheme(), force=data["force"], by=user)
        told = {
            "status": decision.status,
            "reason": decision.reason,
            "triggers": decision.triggers,
        }
        if decision.run is None:
            return Response(told)
        if decision.is_new:
            transaction.on_commit(partial(hand_over, decision.run))
        return Response({"run": decision.run.pk, **told}, status=status.HTTP_202_ACCEPTED)


class ModelInfoView(APIView):
    """The version that serves."""

    @extend_schema(responses={200: ModelVersionSerializer})
    def get(self, request: Request) -> Response:
        version = (
            ModelVersion.objects.champions()
            .select_related("scheme")
            .filter(scheme__key=LabelScheme.DEFAULT_KEY)
            .first()
        )
        if version is None:
            raise NoChampion("no model serves yet: run `python manage.py bootstrap`")
        labels = list(version.scheme.categories.values_list("key", flat=True))
        return Response({**ModelVersionSerializer(version).data, "labels": labels})


class DataQualityView(APIView):
    """The newest quality report."""

    @extend_schema(
        responses={
            200: PolymorphicProxySerializer(
                "Quality", [NewestReportSerializer, NoReport], resource_type_field_name=None
            )
        }
    )
    def get(self, request: Request) -> Response:
        report = _scheme().reports.select_related("model_version").first()
        if report is None:
            return Response(
                {"status": "no_report", "detail": "The first report comes within an hour."}
            )
        return Response(NewestReportSerializer(report).data)


class HealthView(APIView):
    """200 while the service can answer predictions, else 503. What is wrong, readers are told."""

    permission_classes = [AllowAny]
    throttle_classes = []

    def perform_authentication(self, request: Request) -> None:
        """Not yet: whoever asks, and whatever they carry, is told the status."""

    @extend_schema(
        responses={
            200: _told("Predictions are answered; degraded: something else is wrong.", HEALTH),
            503: _told("No predictions are answered.", {**HEALTH, "status": "unavailable"}),
        }
    )
    def get(self, request: Request) -> Response:
        state = health.check()
        is_down = state["status"] == "unavailable"
        if not self._may_see_details(request):
            state = {"status": state["status"]}
        return Response(
            state, status=status.HTTP_503_SERVICE_UNAVAILABLE if is_down else status.HTTP_200_OK
        )

    def _may_see_details(self, request: Request) -> bool:
        try:
            return permissions.IsAllowed().has_permission(request, self)
        except (AuthenticationFailed, DatabaseError):
            return False


def _scheme() -> LabelScheme:
    return LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)


@safe_only
def information(request: HttpRequest) -> JsonResponse:
    """What is here, for programs that ask for `/`."""
    return JsonResponse({"name": "Live sentiment", "routes": ROUTES})


@safe_only
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics of this process, or of all with PROMETHEUS_MULTIPROC_DIR."""
    if not permissions.may_scrape(request):
        return problem_response(
            request, 403, "Metrics are open to METRICS_NETWORKS, tokens that read, and sessions."
        )
    response: HttpResponse = ExportToDjangoView(request)
    return response
