"""The site's own URLs: its root, a page for people and JSON for programs, and its icon."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.templatetags.static import static
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from api.views import information
from dashboard.views import home


@csrf_exempt
def root(request: HttpRequest) -> HttpResponseBase:
    """The dashboard for a browser, information about the API otherwise."""
    wants_page = request.accepts("text/html") and "text/html" in request.headers.get("Accept", "")
    response = home(request) if wants_page else information(request)
    if isinstance(response, HttpResponse):
        patch_vary_headers(response, ["Accept"])
    return response


def favicon(request: HttpRequest) -> HttpResponseBase:
    """For pages that name no icon: browsers ask for it at the root."""
    return redirect(static("img/icon.svg"))
