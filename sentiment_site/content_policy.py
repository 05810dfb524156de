"""What pages may load: only what the site itself serves; `docs/running.md` says why each exception
is there."""

from typing import Any

from csp.constants import NONCE, NONE, SELF

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        # Plotly's export, Swagger UI's and the admin's icons.
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        # The websocket too: to browsers of today, ws: and wss: of the own host are 'self'.
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "object-src": [NONE],
    },
}
