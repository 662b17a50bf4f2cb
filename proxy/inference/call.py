"""A call that was read and may be sent to a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from urllib.parse import parse_qsl, quote

from msgspec import Struct

from proxy.asgi import Header
from proxy.config import Provider
from proxy.cooperative import Cooperative, run_yielding
from proxy.errors import BadRequest
from proxy.guards import MODEL
from proxy.inference.request.body import Body, joined_in_steps
from proxy.inference.request.headers import further_headers
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.params import ParamOverrides
from proxy.inference.response.ids import PATHS_WITH_IDS
from proxy.inference.routing import Candidate
from proxy.telemetry import CallRecord
from proxy.upstream.calls import Endpoint
from proxy.upstream.response import UpstreamResponse

_ID = "{id}"
_GEMINI_PREFIX = "models/"
_MIN_UNIQUE = 8  # characters; shorter texts are contained in others by chance


class Call(Struct, frozen=True):
    """A validated call."""

    path: str
    """As in `CallPath`: `/v1/...`, or a path that is not below the provider's base URL; `{id}` is the model."""
    body: Body
    headers: Mapping[str, str]
    """The caller's headers that are forwarded."""
    candidates: Sequence[Candidate]
    """In the operator's order; at least one."""
    request_id: str
    key: str
    """The name of the caller's key."""
    record: CallRecord
    """Filled while the call proceeds."""
    raw_headers: Sequence[Header] = ()
    """All headers of the caller, from which `forward_headers` selects."""
    query: str = ""
    """The query parameters that are forwarded, percent-encoded."""
    has_new_tokens: bool = True
    """Whether the tokens that the response reports were not counted before."""

    @property
    def model(self) -> str:
        return self.body.model

    def own_text(self) -> Callable[[str], Cooperative[bool]]:
        """Return a function: whether the caller may have written an id, or what a provider derives it from.

        It takes short steps if the body is long, otherwise one.
        """
        values = [value.decode("latin-1") for _, value in self.raw_headers]
        values += chain.from_iterable(parse_qsl(self.query, keep_blank_values=True))
        joined = "\n".join(values)
        unique = [value for value in values if len(value) >= _MIN_UNIQUE]

        def is_own(object_id: str) -> Cooperative[bool]:
            end = object_id.rpartition("_")[2]
            text = end if len(end) >= _MIN_UNIQUE else object_id
            if text in joined or any(value in object_id for value in unique):
                return True
            return (yield from self.body.search(text))

        return is_own

    @property
    def path_of_ids(self) -> str:
        """The call whose response contains ids as the response to this one does; "" for none."""
        return self.path if self.path in PATHS_WITH_IDS else ""

    def send(
        self, endpoint: Endpoint, candidate: Candidate, changes: ParamOverrides | None
    ) -> Awaitable[UpstreamResponse]:
        """Send the call with the provider's ids and changes of parameters. Raises BadRequest."""
        changes = changes if isinstance(self.body, JsonBody) and _ID not in self.path else None
        if changes or self.body.is_long:
            return self._send_in_steps(endpoint, candidate, changes)
        return self._send_body(self.body.with_ids(candidate.ids), endpoint, candidate)

    async def _send_in_steps(
        self, endpoint: Endpoint, candidate: Candidate, changes: ParamOverrides | None
    ) -> UpstreamResponse:
        body = await run_yielding(joined_in_steps(self.body.parts_with_ids(candidate.ids)))
        if changes:
            body = await run_yielding(changes.applied(body, candidate.offer.entry.id))
        return await self._send_body(body, endpoint, candidate)

    def _send_body(self, body: bytes, endpoint: Endpoint, candidate: Candidate) -> Awaitable[UpstreamResponse]:
        return endpoint.send(
            self.path_at(candidate),
            body,
            headers=self.headers_for(endpoint.provider),
            content_type=self.body.content_type.decode(),
            request_id=self.request_id,
            query=self.query,
            model=candidate.offer.entry.id,
            caller=self.key,
        )

    def path_at(self, candidate: Candidate) -> str:
        """Return the path with the provider's id, if it names the model. Raises BadRequest."""
        if _ID not in self.path:
            return self.path
        own_id = candidate.ids[self.model].removeprefix(_GEMINI_PREFIX)
        if not {"", ".", ".."}.isdisjoint(own_id.split("/")):
            raise BadRequest("The id of the model cannot be part of a URL.", param=MODEL)
        return self.path.replace(_ID, quote(own_id, safe="/:"))

    def headers_for(self, provider: Provider) -> Mapping[str, str]:
        """Return the caller's headers that are forwarded to a provider, by lower-case names."""
        if provider.forwards is None:
            return self.headers
        return {**further_headers(self.raw_headers, provider.forwards), **self.headers}
