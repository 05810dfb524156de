"""Addresses under `/label/`."""

from django.urls import path

from dashboard.labelling import reviewing, views

urlpatterns = [
    path("", views.page, name="label"),
    path("next/", views.next_items, name="label-next"),
    path("save/", views.save, name="label-save"),
    path("review/", reviewing.overview, name="label-review"),
    path("review/settle/", reviewing.settle, name="label-settle"),
    path("search/", reviewing.search, name="label-search"),
]
