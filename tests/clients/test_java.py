"""The HTTP client of the JDK. Its requests over plain HTTP ask for an upgrade to HTTP/2 (`Upgrade: h2c`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.clients.running import KEY, PREFIX, setup
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Script, replies

MODEL = "lab-chat"
OWN = f"{PREFIX}{MODEL}"


def printed(home: Path, script: Script, **fields: object) -> Sequence[str]:
    """The lines that the program prints for one call."""
    body = msgspec.json.encode({"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **fields})
    with setup(home, script, MODEL) as proxy:
        source, url = Path(__file__).with_name("Call.java"), f"{proxy.url}/v1/chat/completions"
        return proxy.output("java", str(source), url, KEY, body.decode()).splitlines()


def test_a_call_is_answered(tmp_path: Path) -> None:
    status, body = printed(tmp_path, replies(completion(OWN)))
    assert (status, msgspec.json.decode(body)) == ("200 HTTP_1_1", completion(MODEL))


def test_a_stream_is_relayed(tmp_path: Path) -> None:
    script = streams(chunk_event(OWN, "one"), chunk_event(OWN, "two"), DONE)
    status, *lines = printed(tmp_path, script, stream=True)
    events = chunk_event(MODEL, "one") + chunk_event(MODEL, "two") + DONE
    assert (status, lines) == ("200 HTTP_1_1", events.decode().splitlines())
