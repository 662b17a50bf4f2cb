"""Parse the body of a call, in the format of its API and content type."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.calls import CallPath
from proxy.cooperative import Cooperative
from proxy.inference.request.body import Body
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.native_bodies import GeminiBody, OllamaBody


def parse_body(
    body: bytes, headers: Mapping[bytes, bytes], call: CallPath, path_model: str, default_model: str
) -> Cooperative[Body]:
    """Return the body of a call.

    `path_model`: the model that the path names; `default_model`: that of a call without one; "" for none. Raises
    BadRequest.
    """
    if call.api == "gemini":
        read = yield from GeminiBody.read(body, path_model=path_model)
        read.is_stream = call.is_stream
        return read
    content_type = headers.get(b"content-type", b"")
    if content_type.lower().startswith(b"multipart/"):
        return (yield from FormBody.read(body, content_type, path_model=path_model, default_model=default_model))
    kind = OllamaBody if call.is_stream else JsonBody
    return (yield from kind.read(body, path_model=path_model, default_model=default_model))
