"""No private value of a provider's list leaves the real command, whatever the kind, nor stays in its memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.dialects import DIALECTS
from tests.dialects.private_values import PRIVATE, traces_in
from tests.fakes import digest
from tests.processes import Process, models_proxy, serving
from tests.providers.scripted import FakeProviders, replies

LIST = {"path": "/models", "items": "data", "fields": {"context_length": "limits.context"}}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "bedrock": {"region": "us-east-1"},
    "cloudflare": {"account_id": "a"},
    "custom": {"list": LIST},
    "pangu": {"workspace_id": "w", "model_ids": ["m"]},
}
KINDS = [kind for kind, row in DIALECTS.items() if row.is_remote]
ADMIN = {"x-api-key": "made-up-admin"}
# Freed memory is overwritten, so that only what is still in use is found. Python allocates from the C library only.
OVERWRITES_FREED_MEMORY = {
    "PYTHONMALLOC": "malloc",
    "MALLOC_PERTURB_": "165",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}


def entry_of(kind: str, number: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with an id at all places where kinds have it."""
    own_id = f"{kind}-{number}"
    ids = dict.fromkeys(("id", "key", "model", "modelId"), own_id)
    return {"owner": "acme", "name": own_id, **fields, **ids}


def answer_of(kind: str) -> Any:
    """A list of this kind with one private value in each entry, on one page."""
    entries = [entry_of(kind, number, fields) for number, fields in enumerate(PRIVATE.values())]
    items = "data" if kind in ("custom", "openai") else DIALECTS[kind].items[0]
    if not items:
        return entries
    answer: dict[str, Any] = {}
    put(answer, items, entries)
    for other_list in DIALECTS[kind].also:
        put(answer, other_list.items[0], [])
    for total in (paging.total for paging in DIALECTS[kind].paging if paging.total):
        put(answer, total, len(entries))
    return answer


def put(answer: dict[str, Any], path: str, value: object) -> None:
    """Set the value at a dotted path."""
    *outer, name = path.split(".")
    inner = reduce(lambda within, part: within.setdefault(part, {}), outer, answer)
    inner[name] = value


@pytest.fixture(scope="module")
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


@pytest.fixture(scope="module")
def text(upstreams: FakeProviders) -> str:
    """A configuration with one provider of each kind."""
    providers = [
        {
            "name": kind,
            "kind": kind,
            "base_url": upstreams.open(replies(answer_of(kind))).url,
            "api_key": "made-up-key",
            **SETTINGS.get(kind, {}),
        }
        for kind in KINDS
    ]
    keys = [{"name": "admin", "hash": digest(ADMIN["x-api-key"]), "models": ["*"], "admin": True}]
    return json.dumps({"cache": {"ttl": "1h", "initial_wait": "60s"}, "providers": providers, "keys": keys})


@pytest.fixture(scope="module")
def process(text: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    config = tmp_path_factory.mktemp("private") / "config.yaml"
    with serving(config, text, env=OVERWRITES_FREED_MEMORY) as running:
        yield running


@pytest.fixture(scope="module")
def models(process: Process) -> Sequence[Mapping[str, Any]]:
    reply = httpx.get(f"{process.url}/models", headers=ADMIN, timeout=60)
    listed: list[dict[str, Any]] = reply.json()["data"]
    return listed


def test_every_entry_of_every_kind_is_listed_without_its_private_value(models: Sequence[Mapping[str, Any]]) -> None:
    own_ids = {model["id"].rpartition("/")[2] for model in models}
    assert own_ids == {f"{kind}-{number}" for kind in KINDS for number in range(len(PRIVATE))}
    assert [model["id"] for model in models if traces_in(json.dumps(model).encode())] == []


def test_no_endpoint_returns_a_private_value(process: Process, models: Sequence[Mapping[str, Any]]) -> None:
    base = process.url.removesuffix("/v1")
    first = [f"/v1/models/{model['id']}" for model in models[:: len(PRIVATE) // 3]]
    paths = [*first, "/v1/models", "/health", "/metrics", "/v1/workspaces/w/models/m/versions?limit=100", "/nowhere"]
    with httpx.Client(base_url=base, headers=ADMIN, timeout=60) as client:
        replies_ = {path: client.get(path) for path in paths}
    assert {replies_[path].status_code for path in paths if path not in ("/metrics", "/nowhere")} == {200}
    assert [path for path, reply in replies_.items() if traces_in(repr(reply.headers).encode() + reply.content)] == []
    assert traces_in("\n".join([*process.out, *process.err]).encode()) == []


@pytest.mark.parametrize("arguments", [["check", "--json"], ["check"]], ids=" ".join)
def test_no_command_prints_a_private_value(text: str, arguments: Sequence[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text, encoding="utf-8")
    with models_proxy(*arguments, "--config", str(config)) as run:
        run.wait()
    assert any("openai" in line for line in run.out)
    assert traces_in("\n".join([*run.out, *run.err]).encode()) == []


def test_no_private_value_stays_in_the_memory_of_the_process(
    process: Process, models: Sequence[Mapping[str, Any]]
) -> None:
    # The event loop reads all sockets into one buffer, which a large request overwrites.
    body = json.dumps({"model": "unknown", "messages": [], "user": "x" * 1024**2}).encode()
    httpx.post(f"{process.url}/chat/completions", headers=ADMIN, content=body, timeout=60)

    memory = writable_memory(process.pid)

    assert models[0]["id"].encode() in memory, "the memory can be read"
    assert traces_in(memory) == []


def writable_memory(pid: int) -> bytes:
    """All memory of a process that it can write. It may contain the last 8 bytes of freed memory."""
    areas = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    bounds = [re.match(r"(\w+)-(\w+) rw", area) for area in areas]
    parts: list[bytes] = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in ((int(found[1], 16), int(found[2], 16)) for found in bounds if found):
            memory.seek(start)
            parts.append(memory.read(end - start))
    return b"".join(parts)
