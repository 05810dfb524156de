"""Every URL of the site: the API's root routes, the dashboard and the admin."""

from django.contrib import admin
from django.urls import include, path

from sentiment_site.views import favicon, root

admin.site.site_header = "Live sentiment"
admin.site.site_title = "Live sentiment"
admin.site.index_title = "Posts, labels and models"
# The lists are wide; the way to the others is the index.
admin.site.enable_nav_sidebar = False

urlpatterns = [
    path("", root, name="home"),
    path("favicon.ico", favicon),
    path("admin/", admin.site.urls),
    path("", include("api.urls")),
    path("", include("dashboard.urls")),
]

handler400 = "api.exceptions.bad_request"
handler403 = "api.exceptions.forbidden"
handler404 = "api.exceptions.not_found"
handler500 = "api.exceptions.server_error"
