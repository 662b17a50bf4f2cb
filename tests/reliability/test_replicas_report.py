"""Which failed requests the run of three replicas excuses."""

from __future__ import annotations

from reliability.replicas.__main__ import Outcome
from reliability.replicas.load import Request


def test_only_requests_in_progress_that_the_killed_process_can_have_had_may_fail() -> None:
    call, listed = Request("call", 1.0, 3.0, "closed"), Request("list", 1.0, 3.0, "closed")
    before, after = Request("call", 0.5, 1.5, "closed"), Request("call", 2.5, 4.0, "closed")
    requests = [call, listed, before, after, Request("list", 1.0, 3.0, "")]

    of_provider = Outcome(requests, 2.0, ("call", "stream"))
    of_store = Outcome(requests, 2.0, ())

    assert (of_provider.in_progress, of_provider.failed) == ([call], [listed, before, after])
    assert (of_store.in_progress, of_store.failed) == ([], [call, listed, before, after])
    assert of_store.cells()[-3:] == ["0", "4", "NO"]
    assert Outcome([call], 2.0, ("call",)).cells()[-3:] == ["1", "0", "yes"]
