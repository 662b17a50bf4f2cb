"""6. Forwarding of `POST /v1/chat/completions`, compared with other forwarders and with a direct call."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.harness import (
    LOAD_CORE,
    ROUNDS,
    SERVER_CORE,
    Round,
    begin,
    folder,
    free_port,
    measured,
    medians,
    process,
    python,
    ratio,
    table,
    tool,
    verdict,
    wait_for,
)
from benchmarks.servers import config_text, ours, upstreams, wait_until_listed
from tests.providers.bulk_calls import MODELS, call_body, completion_body
from tests.providers.bulk_lists import base_url

LISTED = 500
CONNECTIONS = (1, 32)
SECONDS = 1.0  # per round
KEY = "mp-benchmark-calls-0000000000000000"
PATH = "/chat/completions"
PREFIX = "team/"

DIRECT, NGINX, BARE, SAME, RENAMED = "direct", "nginx", "bare aiohttp", "proxy, same id", "proxy, renamed"
STARLETTE = "starlette + httpx"
OURS = (SAME, RENAMED)

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off; default_type application/json; tcp_nodelay on; keepalive_requests 100000000; server_tokens off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {more}
}}
"""
_BACKEND = """
  server {{ listen 127.0.0.1:{port} backlog=512; location /json/ {{ return 200 '{body}'; }} }}
"""
_PASSES = """
  upstream json {{ server 127.0.0.1:{json}; keepalive 64; keepalive_requests 100000000; }}
  upstream sse {{ server 127.0.0.1:{sse}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=512; proxy_http_version 1.1; proxy_set_header Connection "";
    location /json/ {{ proxy_pass http://json; }}
    location /sse/ {{ proxy_pass http://sse; proxy_buffering off; }}
  }}
"""


@dataclass(frozen=True)
class Target:
    """A measured server: its process, the call, and the rounds."""

    name: str
    pid: int
    url: str
    body: Path
    rounds: list[Round] = field(default_factory=list)

    @property
    def per_second(self) -> list[float]:
        return [run.load.per_second for run in self.rounds]

    @property
    def p50(self) -> list[float]:
        return [run.load.p50 for run in self.rounds]


Kind = tuple[str, int]
"""`json` or `sse`, and the number of connections."""


def main() -> None:
    begin("POST /v1/chat/completions, forwarded")
    with ExitStack() as stack:
        kinds = _kinds(stack, Path(stack.enter_context(folder())))
        for (_, connections), targets in kinds.items():
            for turn in range(ROUNDS + 1):
                for target in targets:
                    _run_round(target, connections, warms_up=not turn)
    head = ["response", "connections", "server", "calls/s", "of bare", "of nginx", "CPU us", "p50 ms", "p99 ms"]
    print(table(head, [row for kind, targets in kinds.items() for row in _rows(kind, targets)]))
    print()
    print(table(["goal", "", "result", "met"], _goals(kinds)))


def _run_round(target: Target, connections: int, *, warms_up: bool) -> None:
    seconds = SECONDS / 2 if warms_up else SECONDS
    headers = [f"Authorization: Bearer {KEY}"]
    run = measured(target.pid, target.url, connections=connections, seconds=seconds, headers=headers, body=target.body)
    if not warms_up:
        target.rounds.append(run)


# -- measured servers ----------------------------------------------------------------------------------------------


def _kinds(stack: ExitStack, where: Path) -> dict[Kind, list[Target]]:
    provider, port = stack.enter_context(_python("tests.providers.bulk_calls", LOAD_CORE))
    servers = {"json": (provider, port), "sse": (provider, port)}
    program = tool("nginx", "skipping its rows; JSON responses come from Python")
    if program:
        backend = _nginx(program, where / "answers", _BACKEND, LOAD_CORE, body=completion_body().decode())
        servers["json"] = stack.enter_context(backend)
    ports = {mode: port for mode, (_, port) in servers.items()}
    lists = stack.enter_context(upstreams(LISTED // 4))
    proxy = stack.enter_context(ours(where, config(lists, ports)))
    wait_until_listed(proxy, LISTED, {"Authorization": f"Bearer {KEY}"})
    passers = {
        (name, mode): stack.enter_context(_python("benchmarks.passers", SERVER_CORE, kind, f"http://127.0.0.1:{port}"))
        for mode, port in ports.items()
        for name, kind in ((BARE, "bare"), (STARLETTE, "starlette"))
        if (name, mode) != (STARLETTE, "sse")
    }
    if program:
        passers |= dict.fromkeys(
            [(NGINX, "json"), (NGINX, "sse")],
            stack.enter_context(_nginx(program, where / "passes", _PASSES, SERVER_CORE, **ports)),
        )
    passers |= {(DIRECT, mode): server for mode, server in servers.items()}
    kinds: dict[Kind, list[Target]] = {}
    for mode, model in MODELS.items():
        bodies = {"": where / f"{mode}-same", PREFIX: where / f"{mode}-renamed"}
        for prefix, path in bodies.items():
            path.write_bytes(call_body(prefix + model, streamed=mode == "sse"))
        for connections in CONNECTIONS:
            kinds[mode, connections] = [
                Target(name, pid, f"http://127.0.0.1:{port}/{mode}{PATH}", bodies[""])
                for name in (DIRECT, NGINX, BARE, STARLETTE)
                for pid, port in [passers.get((name, mode), (0, 0))]
                if pid and (name != STARLETTE or connections > 1)
            ] + [
                Target(SAME, proxy.pid, proxy.url(f"/v1{PATH}"), bodies[""]),
                Target(RENAMED, proxy.pid, proxy.url(f"/v1{PATH}"), bodies[PREFIX]),
            ]
    return kinds


def config(lists: int, ports: dict[str, int]) -> str:
    """Four providers: each of the two lists without and with a prefix. Calls go to the port for `json` or `sse`."""
    lines = [
        f"  - {{name: {mode}{n}, base_url: '{base_url(lists, number)}', prefix: '{prefix}', max_in_flight: 10000, "
        f"call: {{base_url: 'http://127.0.0.1:{ports[mode]}/{mode}'}}}}"
        for number, mode in enumerate(MODELS)
        for n, prefix in enumerate(("", PREFIX))
    ]
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    return config_text(lines, f"keys: [{{name: benchmark, hash: 'sha256:{digest}', models: ['*']}}]")


@contextmanager
def _python(module: str, core: int, kind: str = "", *more: str) -> Iterator[tuple[int, int]]:
    """Run a module that listens. Yields its process id and its port."""
    port = free_port()
    arguments = [kind, str(port)] if kind else [str(port)]
    with process(python("-m", module, *arguments, *more), core) as running:
        yield _listening(running, port)


@contextmanager
def _nginx(program: str, where: Path, text: str, core: int, **values: object) -> Iterator[tuple[int, int]]:
    port = free_port()
    where.mkdir()
    path = where / "nginx.conf"
    path.write_text(_NGINX.format(folder=where, more=text.format(port=port, **values)))
    with process([program, "-c", str(path), "-p", str(where)], core) as running:
        yield _listening(running, port)


def _listening(running: subprocess.Popen[bytes], port: int) -> tuple[int, int]:
    wait_for(port, running)
    return running.pid, port


# -- results ------------------------------------------------------------------------------------------------------


def _rows(kind: Kind, targets: Sequence[Target]) -> Iterator[list[str]]:
    mode, connections = kind
    by_name = {target.name: target for target in targets}
    for target in targets:
        results = medians(target.rounds)
        yield [
            {"json": "JSON, 1 KB", "sse": "SSE, 200 events"}[mode],
            f"{connections}",
            target.name,
            f"{results.per_second:,.0f}",
            *(
                f"{ratio(target.per_second, by_name[other].per_second):.2f}" if other in by_name else "-"
                for other in (BARE, NGINX)
            ),
            f"{results.cpu_us:,.0f}" if target.name != DIRECT else "-",
            f"{results.p50:.3f}",
            f"{results.p99:.3f}",
        ]


def _goals(kinds: dict[Kind, list[Target]]) -> Iterator[list[str]]:
    by_kind = {kind: {target.name: target for target in targets} for kind, targets in kinds.items()}
    for (mode, connections), by_name in by_kind.items():
        label = f"{mode.upper()}, {connections} connections"
        for name in OURS:
            yield _at_least(f"{label}: {name}, of bare aiohttp", by_name, name, BARE, 0.7)
        for name in OURS:
            if mode == "sse" and NGINX in by_name:
                yield _at_least(f"{label}: {name}, of nginx", by_name, name, NGINX, 0.9)
            elif STARLETTE in by_name:
                yield _at_least(f"{label}: {name}, of starlette + httpx", by_name, name, STARLETTE, 10)
    for name in OURS:
        alone = by_kind["json", 1]
        added = median(own - direct for own, direct in zip(alone[name].p50, alone[DIRECT].p50, strict=True))
        yield [f"JSON, 1 connection: {name}, added p50 ms", "< 0.5", f"{added:.3f}", verdict(added < 0.5)]


def _at_least(label: str, by_name: dict[str, Target], ours_: str, other: str, goal: float) -> list[str]:
    share = ratio(by_name[ours_].per_second, by_name[other].per_second)
    return [label, f">= {goal:g}", f"{share:.2f}", verdict(share >= goal)]


if __name__ == "__main__":
    main()
