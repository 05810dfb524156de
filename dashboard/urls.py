"""Pages. The root page is composed with the API's in `sentiment_site.urls`."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.i18n import set_language

from dashboard import views
from dashboard.languages import Catalog

urlpatterns = [
    path("live/data/", views.data, name="live-data"),
    path("live/details/", views.details, name="live-details"),
    path("live/compare/", views.compare, name="live-compare"),
    path("live/bins.csv", views.bins, name="live-bins"),
    path("live/posts/", views.posts, name="live-posts"),
    path("live/why/<int:post_id>/", views.why, name="live-why"),
    path("models/", include("dashboard.model_pages.urls")),
    path("label/", include("dashboard.labelling.urls")),
    path("words/<slug:language>/<slug:version>.js", Catalog.as_view(), name="script-words"),
    path("language/", set_language, name="set_language"),
    path("login/", LoginView.as_view(template_name="dashboard/login.html"), name="login"),
    path("logout/", LogoutView.as_view(next_page="/"), name="logout"),
]
