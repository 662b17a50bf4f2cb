"""Parse the body of a call, in the format of its API and content type."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.calls import CallPath
from proxy.cooperative import Cooperative
from proxy.inference.request.body import Body
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.native_bodies import GeminiBody, GeminiStreamBody, OllamaBody


def parse_body(
    body: bytes, headers: Mapping[bytes, bytes], call: CallPath, path_model: str, default_model: str
) -> Cooperative[Body]:
    """Read the body of a call in short steps.

    `path_model`: the model that the path names; `default_model`: that of a call without one; "" for none. Raises
    BadRequest.
    """
    if call.api == "gemini":
        return (GeminiStreamBody if call.is_stream else GeminiBody).read(body, path_model=path_model)
    content_type = headers.get(b"content-type", b"")
    if content_type.lower().startswith(b"multipart/"):
        return FormBody.read(body, content_type, path_model=path_model, default_model=default_model)
    return (OllamaBody if call.is_stream else JsonBody).read(body, path_model=path_model, default_model=default_model)
