"""uvicorn's flow control of one connection, which waits while too many requests are waiting."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class WatchedFlowControl(FlowControl):
    """uvicorn's flow control, which does not resume reading while too many requests are waiting."""

    is_full = False
    """Whether too many are."""

    def resume_reading(self) -> None:
        if not self.is_full:
            super().resume_reading()
