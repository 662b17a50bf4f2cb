"""The paths of requests: calls, and other spellings. Separate from `api/inference.py`, which is loaded later."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from proxy.calls import CALLS, GEMINI_VERSION, NATIVE_CALLS, VERSION, CallPath
from proxy.wire.format import BASE_PATHS


def request_paths(extra: Iterable[str] = ()) -> Mapping[str, CallPath]:
    """Return the call of each path of a request. `extra`: the setting `server.extra_paths`."""
    calls = [*CALLS.values(), *map(CallPath, extra)]
    return {
        **{base + call.below_base: call for call in calls if call.below_base for base in BASE_PATHS},
        **{call.path: call for call in calls if not call.below_base},
    }


def native_paths() -> Mapping[str, CallPath]:
    """Return the native calls by path; `{id}` is the model. Those of Gemini are also below `/v1`."""
    below_v1 = {VERSION + path.removeprefix(GEMINI_VERSION): call for path, call in NATIVE_CALLS.items() if "{" in path}
    return {**NATIVE_CALLS, **below_v1}


STORED_RESPONSES: Mapping[str, tuple[str, ...]] = {
    f"{base}/responses/{{id}}{end}": methods
    # Below the other base paths, `/models`, they would be ids of models.
    for base in ("", VERSION)
    for end, methods in (("", ("GET", "DELETE")), ("/cancel", ("POST",)), ("/input_items", ("GET",)))
}
"""Path of a stored response -> methods."""

_PREFIX = re.compile(rb"(/+openai(?=/))?((?:/+v1(?=/))*)/+")
"""What clients put before the path of an API: Azure's `/openai`, and `/v1` twice if the base URL has it as well."""
_IS_OTHER = re.compile(rb"//|/$|^/openai/|^/v1/v[0-9]")
"""Finds a sign of another spelling: a quick test, because every request for one model makes it."""
_VERSION = re.compile(rb"v[0-9]+(?:beta)?")
_MAX_CALL_SEGMENTS = 3
_MAX_PATH = 16 * 1024
"""Bytes: a path with the longest id, percent-encoded, is shorter."""


class OtherPath(NamedTuple):
    """A path that a client can mean by another spelling."""

    raw: bytes
    """Percent-encoded."""
    model: str = ""
    """The model in the path of an Azure deployment."""

    @property
    def decoded(self) -> str:
        return unquote(self.raw.decode("ascii", "replace"))


def other_paths(raw_path: bytes) -> Iterator[OtherPath]:
    """Yield the paths that another spelling can mean, in order of precedence.

    Spellings: `//`, a slash at the end, `/v1/v1`, `/v1/v2`, and Azure's `/openai/...`. `raw_path` is percent-encoded:
    an encoded slash belongs to an id.
    """
    if len(raw_path) > _MAX_PATH or not _IS_OTHER.search(raw_path):
        return
    prefix = _PREFIX.match(raw_path)
    if prefix is None:
        return
    is_azure = prefix[1] is not None
    base = VERSION.encode() if is_azure or prefix[2] else b""
    rest = raw_path[prefix.end() :]
    segments = [segment for segment in rest.split(b"/") if segment]
    if is_azure and segments[:1] == [b"deployments"]:
        yield from _calls_of_deployments(segments[1:])
        rest = rest.replace(b"deployments", b"models", 1)
        segments[0] = b"models"
    if segments[:1] == [b"models"]:
        yield OtherPath(b"%b/%b" % (base, rest))  # the id of a model can contain `//`
    if segments and _VERSION.fullmatch(segments[0]):
        base = b""  # `/v2/rerank` below a base URL that ends in `/v1`
    yield OtherPath(b"/".join((base, *segments)))


def is_azure_path(raw_path: bytes) -> bool:
    """Whether the path is one of Azure OpenAI, whose `api-version` belongs to its URLs."""
    return raw_path.lstrip(b"/").startswith(b"openai/")


def _calls_of_deployments(segments: Sequence[bytes]) -> Iterator[OtherPath]:
    """Yield the calls in `/openai/deployments/{model}/{call}`; some clients do not encode the slashes in a model id."""
    for length in range(min(_MAX_CALL_SEGMENTS, len(segments) - 1), 0, -1):
        raw = b"/".join((VERSION.encode(), *segments[-length:]))
        yield OtherPath(raw, unquote(b"/".join(segments[:-length]).decode("ascii", "replace")))
