"""The interface of request bodies of all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from io import BytesIO

from proxy.cooperative import Cooperative
from proxy.errors import BadRequest
from proxy.guards import MODEL

MAX_MODEL_ID = 1000
"""Characters; error messages repeat the id."""
SHORT = 64 * 1024
"""Bytes of a body that is read at once."""
_STEP = 256 * 1024
"""Bytes that are copied or searched at once."""
Bytes = bytes | memoryview
"""A part of a body is a view, because a copy of a long body takes time and memory."""


class Body:
    """A request body, and the models it selects."""

    content_type: bytes
    model: str
    """The requested model."""
    models: tuple[str, ...]
    """All models that the request selects, the requested one first."""
    is_stream = False
    """Whether the body requests an event stream (`stream: true`)."""
    references: Set[str] = frozenset()
    """Ids of the objects stored for the provider's account that the body references. "" is a reference to an object
    that no response can have contained (a stored prompt, an index of documents), or whose id cannot be read."""

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        """Return the body with each model replaced by its value in `ids`; no other byte changes.

        A body without a `model` field gets one, if the path or a default names it: providers read it from the body.
        """
        return _joined(self.parts_with_ids(ids))

    def parts_with_ids(self, ids: Mapping[str, str]) -> Sequence[Bytes]:
        """Return the same in parts: a long body is joined in steps (`joined_in_steps`)."""
        raise NotImplementedError

    @property
    def is_long(self) -> bool:
        """Whether `search` takes steps."""
        return False

    def search(self, text: str) -> Cooperative[bool]:
        """Return whether a string of the body may contain this text of printable ASCII, in short steps."""
        raise NotImplementedError

    def estimated_tokens(self) -> Cooperative[int]:
        """Return an estimate of the tokens of the request, in short steps."""
        raise NotImplementedError

    def estimated_at_once(self) -> int | None:
        """Return the same estimate, if it takes no time worth a step; None if it could."""
        return None

    def discard(self) -> None:
        """Free the bytes: neither `with_ids` nor `search` is called any more."""

    @property
    def cache_key(self) -> str:
        """`prompt_cache_key`, "" without one."""
        return ""

    @property
    def first_messages(self) -> str:
        """The texts with which the conversation begins, "" if there are none."""
        return ""


class NoBody(Body):
    """The body of a request without one, such as a GET."""

    content_type = b""

    def __init__(self, model: str) -> None:
        """`model`: that of the object that is requested."""
        self.model = model
        self.models = (model,)

    def parts_with_ids(self, ids: Mapping[str, str]) -> Sequence[Bytes]:
        return (b"",)

    def search(self, text: str) -> Cooperative[bool]:
        yield
        return False

    def estimated_tokens(self) -> Cooperative[int]:
        yield
        return 0


def check_path_model(path_model: str, model: str) -> None:
    """Reject a body that selects another model than the path, if the path names one: providers differ on which counts.

    Raises BadRequest.
    """
    if path_model and model != path_model:
        raise BadRequest(
            "The path and the request body must name the same model: "
            f"the path names `{path_model[:MAX_MODEL_ID]}`, the body names `{model}`.",
            param=MODEL,
        )


def missing_model() -> BadRequest:
    return BadRequest("The request body must have a `model` field with an id listed by GET /v1/models.", param=MODEL)


def joined_in_steps(parts: Sequence[Bytes]) -> Cooperative[bytes]:
    """Join the parts of a body, in short steps if it is long."""
    size = sum(map(len, parts))
    if len(parts) == 1 or size <= _STEP:
        return _joined(parts)
    joined = BytesIO()
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _STEP):
            joined.write(view[start : start + _STEP])
            yield
    return joined.getvalue()  # without a copy


def search_in_steps(body: bytes, text: bytes) -> Cooperative[bool]:
    """Return whether a body contains this text, in short steps."""
    for start in range(0, len(body), _STEP):
        if body.find(text, start, start + _STEP + len(text) - 1) >= 0:
            return True
        if len(body) > _STEP:
            yield
    return False


def _joined(parts: Sequence[Bytes]) -> bytes:
    return b"".join(parts) if len(parts) > 1 else bytes(parts[0])
