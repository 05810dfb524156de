"""The OpenAPI document: what every operation has in common, its errors above all."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS

from api.exceptions import CONTENT_TYPE, problem


class FieldErrorSerializer(serializers.Serializer):
    # A field of that name; DRF means the parts of the serializer.
    field = serializers.CharField(help_text="Path, as `texts[3]`; empty: the whole body.")
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer):
    """An RFC 9457 problem document."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    # As `field` above: DRF means what is wrong with the input.
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]


# Status → when, and an example of what is said.
PROBLEMS: dict[int, tuple[str, str, list[dict[str, str]] | None]] = {
    400: (
        "The request is wrong; `errors` names the fields.",
        "texts[3]: The text is empty.",
        [{"field": "texts[3]", "detail": "texts[3]: The text is empty."}],
    ),
    401: ("No token and no session.", "Authentication credentials were not provided.", None),
    403: (
        "Not allowed.",
        "This takes a permission, or a token of another scope.",
        None,
    ),
    404: ("Nothing is there.", "No Post matches the given query.", None),
    405: ("Not for this method.", 'Method "PUT" not allowed.', None),
    406: (
        "None of the formats that were asked for.",
        "Could not satisfy the request Accept header.",
        None,
    ),
    408: ("The body did not come in time.", "The body did not come within 30 s.", None),
    409: (
        "What is there does not allow it, or another request changed it at the same moment.",
        "Another request changed this at the same moment: read it again and retry.",
        None,
    ),
    413: ("The body is over 1 MiB.", "The body is larger than 1 MiB.", None),
    415: (
        "Not JSON.",
        'Unsupported media type "text/plain" in request.',
        None,
    ),
    429: ("Over the rate limit.", "Request was throttled. Expected available in 17 seconds.", None),
    503: (
        "No model serves yet, too many texts wait, or the database, the broker or the models' "
        "registry is away.",
        "512 texts wait already: retry in a moment.",
        None,
    ),
}


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        scheme: dict[str, Any] = build_bearer_security_scheme_object(
            header_name="Authorization",
            # A word of RFC 6750, no secret.
            token_prefix="Bearer",  # noqa: S106
        )
        return {**scheme, "description": "Made by `manage.py create_token`, or in the admin."}


class Schema(AutoSchema):
    """Adds each operation's possible problems, with an example of each."""

    def _get_response_bodies(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(*args, **kwargs)
        for code in self._possible_problems():
            if str(code) not in bodies:
                bodies[str(code)] = self._get_response_for_code(
                    _as_response(code), str(code), media_types=[CONTENT_TYPE]
                )
        return bodies

    def _possible_problems(self) -> list[int]:
        codes = [400, 401, 403, 406, 429, 503]
        if self.method not in SAFE_METHODS:
            # Also without a body: clients send some all the same.
            codes += [408, 413, 415]
            if "/predict" not in self.path:
                codes.append(409)
        if "{" in self.path or getattr(self.view, "pagination_class", None) is not None:
            codes.append(404)
        return sorted(codes)


def _as_response(code: int) -> OpenApiResponse:
    when, detail, errors = PROBLEMS[code]
    example = OpenApiExample(
        HTTPStatus(code).phrase,
        problem(code, detail, errors),
        status_codes=[str(code)],
        media_type=CONTENT_TYPE,
    )
    return OpenApiResponse(ProblemSerializer, when, examples=[example])
