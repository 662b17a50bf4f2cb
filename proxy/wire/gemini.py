"""The Gemini API: paths and errors."""

from __future__ import annotations

from proxy.calls import GEMINI_VERSION, NATIVE_CALLS
from proxy.errors import ApiError
from proxy.wire.encoder import encode
from proxy.wire.format import Format

_VERBS = tuple(path.partition("}")[2] for path, call in NATIVE_CALLS.items() if call.api == "gemini")
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def gemini_error(error: ApiError) -> bytes:
    """Return the body of an error as Google's SDKs read it."""
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code, "domain": "models-proxy"}
    status = _STATUSES.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "UNAVAILABLE")
    return encode({"error": {"code": error.status, "message": error.message, "status": status, "details": [reason]}})


def _recognizes(path: str) -> bool:
    return path.startswith(GEMINI_VERSION + "/") or path.endswith(_VERBS)


FORMAT = Format("gemini", recognizes=_recognizes, error=gemini_error)
