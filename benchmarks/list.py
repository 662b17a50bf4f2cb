"""1. `GET /v1/models`, compared with a bare ASGI application that sends the same response, and with nginx.

Then lists in other formats, and a filtered one, compared in the same way with OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Round, begin, folder, measured, medians, ratio, table, verdict
from benchmarks.servers import Server, bare, config_text, nginx, ours, providers, upstreams, wait_until_listed

SIZES = (60, 500, 5000)
LISTS: Mapping[str, tuple[str, Sequence[str]]] = {
    "openai": ("/v1/models", ()),
    "filtered": ("/v1/models?q=m", ()),
    "anthropic": ("/v1/models?limit=1000", ("anthropic-version: 2023-06-01",)),
    "gemini": ("/v1beta/models?pageSize=1000", ()),
    "ollama": ("/api/tags", ()),
    "lmstudio": ("/api/v0/models", ()),
    "litellm": ("/model/info", ()),
    "codex": ("/v1/models?client_version=1.0.0", ()),
    "mistral": ("/v1/models", ("User-Agent: mistral-client-python/1.0.0",)),
}
"""Format -> path and headers of its list."""
LISTED = 500
"""Models in these lists."""
OF_OPENAI = 1.05
"""CPU per request of a format: at most this part of that of OpenAI's list, measured in turn."""
CONNECTIONS = (1, 32)
GOAL = 0.85
ROUNDS = 9  # many short rounds, so that medians ignore a slow second of the machine
SECONDS = 0.25  # per round

Target = tuple[Server, str, Sequence[str]]
"""A server, the path, and the headers of the request."""


def main() -> None:
    begin("GET /v1/models")
    rows: list[list[str]] = []
    for models in SIZES:
        with ExitStack() as stack:
            kinds = _kinds(stack, Path(stack.enter_context(folder())), models)
            for kind, targets in kinds.items():
                rows += [_row(f"{models:,} {kind}", targets, connections) for connections in CONNECTIONS]
    head = ["models, response", "connections", "req/s", "bare req/s", "ratio", "goal", "met"]
    head += ["CPU us", "bare CPU us", "p50 ms", "bare p50 ms", "nginx req/s", "of nginx"]
    print(table(head, rows))
    print()
    print(table(["format", "CPU us", "bare CPU us", "ratio", "of OpenAI's", "goal", "met"], _rows_of_formats()))


def _rows_of_formats() -> list[list[str]]:
    """Requests that are answered with 304, so that the lengths of the lists do not count.

    "of OpenAI's" is the median of the ratios of the rounds. The bare application would add its own noise.
    """
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        lines = [f"{line[:-1]}, speaks: [openai, anthropic, gemini, ollama]}}" for line in _lines(stack)]
        proxy = stack.enter_context(ours(where, config_text(lines)))
        wait_until_listed(proxy, LISTED)
        requests = {name: (path, _with_etag(proxy, path, headers)) for name, (path, headers) in LISTS.items()}
        replies = {name: proxy.get(path, dict(_pairs(headers))) for name, (path, headers) in requests.items()}
        reference = stack.enter_context(bare(where, replies))
        targets = [(proxy, path, headers) for path, headers in requests.values()]
        targets += [(reference, f"/{name}", headers) for name, (_, headers) in requests.items()]
        rounds = _in_turn(targets, CONNECTIONS[-1])
    of_openai = {
        name: ratio([run.cpu_us for run in runs], [run.cpu_us for run in rounds[0]])
        for name, runs in zip(LISTS, rounds, strict=False)
    }
    costs = [medians(runs).cpu_us for runs in rounds]
    pairs = {name: (costs[n], costs[n + len(LISTS)]) for n, name in enumerate(LISTS)}
    return [
        [
            name,
            f"{ours_:.1f}",
            f"{bare_:.1f}",
            f"{ours_ / bare_:.2f}",
            f"{of_openai[name]:.2f}",
            f"<= {OF_OPENAI}",
            verdict(of_openai[name] <= OF_OPENAI),
        ]
        for name, (ours_, bare_) in pairs.items()
    ]


def _lines(stack: ExitStack) -> list[str]:
    return providers(stack.enter_context(upstreams(LISTED)), 1)


def _with_etag(proxy: Server, path: str, headers: Sequence[str]) -> list[str]:
    return [*headers, f"If-None-Match: {proxy.get(path, dict(_pairs(headers))).header('etag')}"]


def _pairs(headers: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (header.partition(": ") for header in headers)]


def _kinds(stack: ExitStack, where: Path, models: int) -> dict[str, list[Target]]:
    """The targets of each kind of response: the proxy, the bare application, nginx."""
    port = stack.enter_context(upstreams(models))
    proxy = stack.enter_context(ours(where, config_text(providers(port, 1))))
    wait_until_listed(proxy, models)
    plain = proxy.get()
    compressed = proxy.get(headers={"Accept-Encoding": "gzip"})
    unchanged = proxy.get(headers={"If-None-Match": plain.header("etag")})
    reference = stack.enter_context(bare(where, {"plain": plain, "gzip": compressed, "304": unchanged}))
    web = stack.enter_context(nginx(where, plain.body, compressed.body))
    etag = web.get("/models").header("etag") if web else ""
    kinds: dict[str, list[Target]] = {
        "plain": [(proxy, "/v1/models", []), (reference, "/plain", [])],
        "gzip": [(server, path, ["Accept-Encoding: gzip"]) for server, path in _both(proxy, reference, "gzip")],
        "304": [
            (server, path, [f"If-None-Match: {plain.header('etag')}"])
            for server, path in _both(proxy, reference, "304")
        ],
    }
    if web:
        kinds["plain"].append((web, "/models", []))
        kinds["gzip"].append((web, "/models", ["Accept-Encoding: gzip"]))
        kinds["304"].append((web, "/models", [f"If-None-Match: {etag}"]))
    return kinds


def _both(proxy: Server, reference: Server, name: str) -> list[tuple[Server, str]]:
    return [(proxy, "/v1/models"), (reference, f"/{name}")]


def _row(name: str, targets: Sequence[Target], connections: int) -> list[str]:
    rounds = _in_turn(targets, connections)
    ours_, bare_, *web = map(medians, rounds)
    per_second = [[run.load.per_second for run in runs] for runs in rounds]
    share = ratio(per_second[0], per_second[1])
    return [
        name,
        f"{connections}",
        f"{ours_.per_second:,.0f}",
        f"{bare_.per_second:,.0f}",
        f"{share:.2f}",
        f">= {GOAL}",
        verdict(share >= GOAL),
        f"{ours_.cpu_us:.1f}",
        f"{bare_.cpu_us:.1f}",
        f"{ours_.p50:.3f}",
        f"{bare_.p50:.3f}",
        f"{web[0].per_second:,.0f}" if web else "-",
        f"{ratio(per_second[0], per_second[2]):.2f}" if web else "-",
    ]


def _in_turn(targets: Sequence[Target], connections: int) -> list[list[Round]]:
    """Measure the targets alternately, after a warm-up."""
    rounds: list[list[Round]] = [[] for _ in targets]
    for turn in range(ROUNDS + 1):
        for (server, path, headers), runs in zip(targets, rounds, strict=True):
            seconds = SECONDS if turn else SECONDS / 2  # warm-up
            run = measured(server.pid, server.url(path), connections=connections, seconds=seconds, headers=headers)
            if turn:
                runs.append(run)
    return rounds


if __name__ == "__main__":
    main()
