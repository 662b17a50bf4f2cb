"""CORS for the origins of `server.cors`."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from proxy.api.headers import error_headers
from proxy.api.request import request_id
from proxy.asgi import ASGIApp
from proxy.errors import BadRequest
from proxy.wire.openai import openai_error


class Cors(CORSMiddleware):
    """starlette's middleware, except that a rejected preflight gets an error in OpenAI's format."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(app, allow_origins=origins, allow_methods=["GET", "HEAD", "POST"], allow_headers=["*"])

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        error = BadRequest("CORS: this origin or method is not allowed; add the origin to `server.cors`.")
        given = request_headers.get("x-request-id", "").encode("latin-1")
        headers = [*error_headers(error), (b"x-request-id", request_id(given))]
        plain = {name.decode(): value.decode() for name, value in headers}
        return Response(openai_error(error), error.status, plain)
