"""The calls that are forwarded to providers, one row each: path, API, default model, and how a stream ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

Api = Literal["openai", "anthropic", "gemini", "ollama"]
"""The API of a client."""
APIS: tuple[Api, ...] = get_args(Api)
COMMON_APIS: tuple[Api, ...] = ("openai", "anthropic")
"""The APIs through which the models of every provider can be called, unless the operator sets `speaks`."""
API_NAMES: Mapping[Api, str] = {
    "openai": "OpenAI API (/v1/chat/completions)",
    "anthropic": "Anthropic API (/v1/messages)",
    "gemini": "Gemini API (/v1beta/models)",
    "ollama": "Ollama API (/api/chat)",
}
"""For messages, with one path as an example."""

VERSION = "/v1"
"""In the path of a call, it is replaced by the base URL of the provider."""
GEMINI_VERSION = "/v1beta"
"""In the path of a call, it is replaced by the base URL of the Gemini API of a provider that has a separate one."""


class CallPath(NamedTuple):
    """One call."""

    path: str
    """Below `/v1`: the provider gets the rest of the path below its base URL. Any other path is sent as it is, below
    the base URL without its version: `/v2/rerank` at `https://api.example.com/v1` is `https://api.example.com/v2/rerank`.
    `{id}` is the model, if the path names it and not the body.
    """
    api: Api = "openai"
    default_model: str = ""
    """The model of a request without one, as OpenAI documents it; "" if the field is required."""
    has_last_event: bool = False
    """Whether a complete stream always has a last event, so that one that ends without it was interrupted."""
    is_stream: bool = False
    """Whether the response is a stream, unless the body has `stream: false`."""

    @property
    def below_base(self) -> str:
        """The path below the provider's base URL, "" if it is not below it."""
        return self.path.removeprefix(VERSION) if self.path.startswith(VERSION + "/") else ""

    @property
    def name(self) -> str:
        """The path without a leading `/v1/`, as settings write it."""
        return (self.below_base or self.path).removeprefix("/")


_TABLE = (
    CallPath("/v1/chat/completions", has_last_event=True),
    CallPath("/v1/completions", has_last_event=True),
    CallPath("/v1/fim/completions", has_last_event=True),
    CallPath("/v1/responses", has_last_event=True),
    CallPath("/v1/responses/compact"),
    CallPath("/v1/responses/input_tokens"),
    CallPath("/v1/embeddings"),
    CallPath("/v1/moderations", default_model="omni-moderation-latest"),
    CallPath("/v1/rerank"),
    CallPath("/v2/rerank"),
    CallPath("/v1/score"),
    CallPath("/v1/tokenize"),
    CallPath("/tokenize"),  # vLLM and llama.cpp do not serve it below /v1
    CallPath("/v1/ocr"),
    CallPath("/v1/images/generations", default_model="dall-e-2"),
    CallPath("/v1/images/edits", default_model="dall-e-2"),
    CallPath("/v1/images/variations", default_model="dall-e-2"),
    CallPath("/v1/audio/speech"),
    CallPath("/v1/audio/transcriptions"),
    CallPath("/v1/audio/translations"),
    CallPath("/v1/messages", "anthropic", has_last_event=True),
    CallPath("/v1/messages/count_tokens", "anthropic"),
)
CALLS: Mapping[str, CallPath] = {call.path: call for call in _TABLE}
"""All calls of the APIs that providers share, by path."""
NATIVE_CALLS: Mapping[str, CallPath] = {
    call.path: call
    for call in (
        CallPath("/v1beta/models/{id}:generateContent", "gemini"),
        CallPath("/v1beta/models/{id}:streamGenerateContent", "gemini", is_stream=True),
        CallPath("/v1beta/models/{id}:countTokens", "gemini"),
        CallPath("/v1beta/models/{id}:embedContent", "gemini"),
        CallPath("/v1beta/models/{id}:batchEmbedContents", "gemini"),
        CallPath("/api/chat", "ollama", is_stream=True),
        CallPath("/api/generate", "ollama", is_stream=True),
        CallPath("/api/embed", "ollama"),
        CallPath("/api/embeddings", "ollama"),  # the predecessor of `/api/embed`, which many clients use
    )
}
"""The calls of APIs that few kinds of providers have, by path."""

_STORED = "all callers share the objects that a provider stores for its account"
_NOT_SERVED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "assistants", "batch", "batches", "containers", "conversations", "evals", "files", "fine_tunes",
            "fine_tuning", "responses", "skills", "threads", "uploads", "vector_stores",
        ),
        _STORED,
    ),
    "realtime": "calls over WebSocket are not supported",
}  # fmt: skip
"""Segment of a path -> why such a path is not served."""
_OLLAMA_ADMIN = frozenset(f"/api/{name}" for name in ("pull", "push", "create", "copy", "delete", "blobs"))
_GEMINI_MODELS = (f"{GEMINI_VERSION}/models/", f"{VERSION}/models/")
_GEMINI_METHODS = ", ".join(path.partition(":")[2] for path, call in NATIVE_CALLS.items() if call.api == "gemini")


class NotServed(NamedTuple):
    segment: str
    reason: str


def not_served(path: str) -> NotServed | None:
    """Return why a path of an API is not served, None if it is not known to be one of these.

    The paths of calls and of stored responses, which contain such segments, are served.
    """
    if "/".join(path.split("/", 3)[:3]) in _OLLAMA_ADMIN:
        return NotServed(path, "the proxy does not change the models of a provider")
    if is_method_of_gemini(path):
        return NotServed(path, f"the methods of models are {_GEMINI_METHODS}")
    segments = [segment.lower().replace("-", "_") for segment in path.split("/")]
    for segment in segments:
        if segment in _NOT_SERVED:
            return NotServed(segment, _NOT_SERVED[segment])
    # What is below a call is a stored completion.
    return NotServed("completions", _STORED) if "completions" in segments[:-1] else None


def is_method_of_gemini(path: str) -> bool:
    """Return whether a path names a method of a model, such as `/v1beta/models/{id}:predict`."""
    return path.startswith(_GEMINI_MODELS) and ":" in path.rpartition("/")[2]
