"""How the API's schema is made, and what shows it (`/schema`, `/docs`)."""

from typing import Any

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Sentiment API",
    "DESCRIPTION": "Live sentiment on social posts: predictions, posts, labels and models.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    # What is sent has no ids and times; what is answered has all fields.
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "SourceEnum": "ingestion.models.sources.source_choices",
        "PostSourceEnum": "ingestion.models.sources.post_source_choices",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "api.examples.add_examples",
    ],
}
