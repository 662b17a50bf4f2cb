"""2. The model list with many API keys and policies, and with failing providers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Round, begin, folder, free_port, measured, medians, ratio, table, verdict
from benchmarks.servers import Server, config_text, ours, providers, upstreams, wait_until_listed
from tests.providers.bulk_lists import base_url

PROVIDERS, MODELS = 10, 20
POLICIES = 300
CONNECTIONS = (1, 32)
GOAL = 1.2
ROUNDS = 13
SECONDS = 0.6  # per round: thousands of requests, enough for a p99
SHORT_TTL = "cache: {ttl: 1s}\n"  # the shortest refresh interval: the most frequent failures


def main() -> None:
    begin("GET /v1/models with many API keys, and with failing providers")
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        port = stack.enter_context(upstreams(MODELS))
        good, bad = providers(port, PROVIDERS), _with_three_bad(port)
        ten, many = _keys(where, 10), _keys(where, 10_000)
        pairs = [
            [
                ("10 keys", _serve(stack, where, good, ten, PROVIDERS), ten),
                ("10,000 keys, 300 policies", _serve(stack, where, good, many, PROVIDERS), many),
            ],
            [
                ("all refreshed each second", _serve(stack, where, good, ten, PROVIDERS, SHORT_TTL), ten),
                (
                    "1 of 10 down, 1 hangs, 1 sends 50 MB",
                    _serve(stack, where, bad, ten, PROVIDERS - 3, SHORT_TTL),
                    ten,
                ),
            ],
        ]
        rows = [row for connections in CONNECTIONS for servers in pairs for row in _rows(servers, connections)]
    head = ["", "connections", "req/s", "CPU us", "p50 ms", "p99 ms", "p99 / undisturbed", "goal", "met"]
    print(table(head, rows))


def _with_three_bad(port: int) -> list[str]:
    down = f"http://127.0.0.1:{free_port()}/v1"
    bad = [down, base_url(port, 8, mode="hang"), base_url(port, 9, mode="huge")]
    lines = [f"  - {{name: bad{n}, base_url: '{url}', timeout: 3s, initial_wait: 1s}}" for n, url in enumerate(bad)]
    return providers(port, PROVIDERS - len(bad)) + lines


def _keys(where: Path, count: int) -> Path:
    """A file of made-up API keys."""
    path = where / f"{count}.keys"
    path.write_text("".join(f"mp-benchmark-{count}-{n:032d}\n" for n in range(count)))
    return path


def _serve(stack: ExitStack, where: Path, lines: Sequence[str], keys: Path, healthy: int, cache: str = "") -> Server:
    values = keys.read_text().split()
    rules = [f"['*', '!*-{n}-0']" for n in range(min(POLICIES, len(values)))]
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in values]
    entries = [
        f"  - {{name: k{n}, hash: 'sha256:{digest}', models: {rules[n % len(rules)]}}}"
        for n, digest in enumerate(digests)
    ]
    text = cache + config_text(lines, "keys:\n" + "\n".join(entries))
    server = stack.enter_context(ours(where, text))
    for key in values[: len(rules)]:
        wait_until_listed(server, healthy * MODELS - 1, {"Authorization": f"Bearer {key}"})
    return server


def _rows(servers: Sequence[tuple[str, Server, Path]], connections: int) -> list[list[str]]:
    rounds: list[list[Round]] = [[] for _ in servers]
    for _ in range(ROUNDS):
        for (_, server, keys), runs in zip(servers, rounds, strict=True):
            runs.append(measured(server.pid, server.url(), connections=connections, seconds=SECONDS, keys=keys))
    quiet = [run.load.p99 for run in rounds[0]]
    return [_row(name, runs, quiet, connections) for (name, _, _), runs in zip(servers, rounds, strict=True)]


def _row(name: str, rounds: Sequence[Round], quiet: Sequence[float], connections: int) -> list[str]:
    result = medians(rounds)
    share = ratio([run.load.p99 for run in rounds], quiet)
    return [
        name,
        f"{connections}",
        f"{result.per_second:,.0f}",
        f"{result.cpu_us:.1f}",
        f"{result.p50:.3f}",
        f"{result.p99:.3f}",
        f"{share:.2f}",
        f"<= {GOAL}",
        verdict(share <= GOAL),
    ]


if __name__ == "__main__":
    main()
