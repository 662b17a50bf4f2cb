"""The ids in the response to a long request, each of which is searched in the request before the client receives it."""

from __future__ import annotations

from collections.abc import Callable

from proxy.cooperative import Cooperative
from proxy.inference.deadline import CallScope
from proxy.inference.response.steps import in_turns


class PendingIds:
    """Records the ids that were read from a response, in short steps."""

    def __init__(
        self, is_own_text: Callable[[str], Cooperative[bool]], record: Callable[..., None], scope: CallScope
    ) -> None:
        """`is_own_text`: see `Call.own_text`; `record`: with the other arguments of `Ledger.record`."""
        self._is_own_text = is_own_text
        self._record = record
        self._scope = scope
        self._pending: list[str] = []

    def add(self, object_id: str) -> None:
        self._record(self._postpone, object_id)

    def _postpone(self, object_id: str) -> bool:
        """Called for an id that is new to the caller. It is not recorded yet."""
        self._pending.append(object_id)
        return True

    async def settle(self) -> None:
        """Record those that are not the caller's own text. Raises ApiError and ClientDisconnected."""
        while self._pending:
            object_id = self._pending.pop(0)
            is_own = await in_turns(self._scope, self._is_own_text(object_id))
            self._record(lambda _, found=is_own: found, object_id)
