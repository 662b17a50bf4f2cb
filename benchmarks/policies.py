"""8. The model list for many keys with rules of their own, compared with as many keys with equal rules."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Round, begin, folder, measured, mebibytes, medians, table, verdict
from benchmarks.servers import Reply, Server, config_text, ours, providers, upstreams, wait_until_listed

MODELS = 1000
KEYS = 500
POLICIES = (1, KEYS)
CONNECTIONS = 8
GOAL = 1.5
ROUNDS = 5
SECONDS = 1.0  # per round
HEADERS = {"304": ["Accept-Encoding: gzip"], "gzip": ["Accept-Encoding: gzip"], "plain": []}


def main() -> None:
    begin(f"GET /v1/models with {KEYS} keys and {MODELS:,} models")
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        port = stack.enter_context(upstreams(MODELS))
        servers = [_serve(stack, where, port, policies) for policies in POLICIES]
        rows = [row for kind in HEADERS for row in _rows(servers, where, kind)]
    head = ["policies, response", "req/s", "CPU us", "CPU / 1 policy", "goal", "met", "p99 ms", "memory MiB"]
    print(table(head, rows))


def _keys() -> list[str]:
    """Made-up API keys."""
    return [f"mp-benchmark-policies-{n:032d}" for n in range(KEYS)]


def _serve(stack: ExitStack, where: Path, port: int, policies: int) -> Server:
    """The proxy, after each key has got its list compressed."""
    entries = [
        f"  - {{name: k{n}, hash: 'sha256:{hashlib.sha256(key.encode()).hexdigest()}',"
        f" models: ['*', '!*-0-{n % policies}']}}"
        for n, key in enumerate(_keys())
    ]
    server = stack.enter_context(ours(where, config_text(providers(port, 1), "keys:\n" + "\n".join(entries))))
    wait_until_listed(server, MODELS - 1, _credential(_keys()[0]))
    lines = [f"{key} If-None-Match {_list(server, key).header('etag')}\n" for key in _keys()]
    (where / f"{server.port}.304").write_text("".join(lines))
    for kind in ("gzip", "plain"):
        (where / f"{server.port}.{kind}").write_text("".join(key + "\n" for key in _keys()))
    return server


def _credential(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _list(server: Server, key: str) -> Reply:
    return server.get(headers={**_credential(key), "Accept-Encoding": "gzip"})


def _rows(servers: Sequence[Server], where: Path, kind: str) -> list[list[str]]:
    rounds: list[list[Round]] = [[] for _ in servers]
    for turn in range(ROUNDS + 1):
        for server, runs in zip(servers, rounds, strict=True):
            keys = where / f"{server.port}.{kind}"
            run = measured(
                server.pid, server.url(), connections=CONNECTIONS, seconds=SECONDS, headers=HEADERS[kind], keys=keys
            )
            if turn:  # the first is a warm-up
                runs.append(run)
    one = medians(rounds[0]).cpu_us
    return [
        _row(f"{policies} {kind}", server, runs, one)
        for policies, server, runs in zip(POLICIES, servers, rounds, strict=True)
    ]


def _row(name: str, server: Server, rounds: Sequence[Round], one: float) -> list[str]:
    result = medians(rounds)
    share = result.cpu_us / one
    return [
        name,
        f"{result.per_second:,.0f}",
        f"{result.cpu_us:.1f}",
        f"{share:.2f}",
        f"<= {GOAL}",
        verdict(share <= GOAL),
        f"{result.p99:.3f}",
        f"{mebibytes(server.pid, 'VmRSS'):.0f}",
    ]


if __name__ == "__main__":
    main()
