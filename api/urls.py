"""Routes of the API; each answers with and without a trailing slash."""

from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_update
from django.urls import include, path, re_path
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)
from rest_framework.routers import DefaultRouter

from api import resources, sources, views

router = DefaultRouter()
# `?format=csv` and Accept choose a format; an address has none.
router.include_format_suffixes = False
router.trailing_slash = "/?"
router.register("streams", sources.StreamViewSet)
router.register("connections", sources.ConnectionViewSet)
router.register("gaps", sources.GapViewSet)
router.register("dead-letters", sources.DeadLetterViewSet)
router.register("usage", sources.DailyUsageViewSet)
router.register("posts", resources.PostViewSet)
router.register("predictions", resources.PredictionViewSet)
router.register("annotations", resources.AnnotationViewSet)
router.register("models", resources.ModelVersionViewSet)
router.register("promotions", resources.PromotionViewSet)
router.register("training-runs", resources.TrainingRunViewSet)
router.register("experiments", resources.ExperimentViewSet)
router.register("reports", resources.QualityReportViewSet)
router.register("alerts", resources.AlertViewSet)

# Redoc writes its styles into the page, and searches in a worker.
redoc = csp_update({"style-src": [UNSAFE_INLINE], "worker-src": ["blob:"]})(
    SpectacularRedocView.as_view(url_name="schema")
)

urlpatterns = [
    re_path(r"^predict/?$", views.PredictView.as_view(), name="predict"),
    re_path(r"^predict/batch/?$", views.PredictBatchView.as_view(), name="predict-batch"),
    re_path(r"^retrain/?$", views.RetrainView.as_view(), name="retrain"),
    re_path(r"^model/info/?$", views.ModelInfoView.as_view(), name="model-info"),
    re_path(r"^data/quality/?$", views.DataQualityView.as_view(), name="data-quality"),
    re_path(r"^health/?$", views.HealthView.as_view(), name="health"),
    re_path(r"^metrics/?$", views.metrics, name="metrics"),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    re_path(r"^docs/redoc/?$", redoc, name="redoc"),
    # Before the router, which would take `stream` for a prediction's id.
    re_path(
        r"^api/v1/predictions/stream/?$", views.PredictStreamView.as_view(), name="predict-stream"
    ),
    path("api/v1/", include(router.urls)),
]
