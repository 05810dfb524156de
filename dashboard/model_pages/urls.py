"""Addresses of the pages about the model, under `/models/`."""

from django.urls import path

from dashboard.model_pages import compare, promotion, reports, runs, versions

urlpatterns = [
    path("", versions.index, name="models"),
    path("<int:number>/", versions.detail, name="model"),
    path("<int:number>/promote/", promotion.promote_page, name="model-promote"),
    path("rollback/", promotion.rollback_page, name="model-rollback"),
    path("compare/", compare.page, name="model-compare"),
    path("runs/", runs.index, name="model-runs"),
    path("runs/retrain/", runs.retrain_now, name="model-retrain"),
    path("runs/<int:pk>/", runs.detail, name="model-run"),
    path("runs/<int:pk>/data/", runs.data, name="model-run-data"),
    path("reports/", reports.index, name="model-reports"),
    path("reports/<int:pk>/", reports.detail, name="model-report"),
]
