"""20. Calls with traces that are sent to a collector, compared with none.

    python -m benchmarks.tracing [--before TREE]

`--before`: the root of an earlier version without tracing, which is compared with this one without tracing in the same
run. Processes and rounds are those of `observed`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.harness import LOAD_CORE, begin, folder, free_port, process, python, table, verdict, wait_for
from benchmarks.observed import AGAIN, LISTED, QUIET, Request, Results, Side, before, config, measure
from benchmarks.servers import upstreams
from tests.providers.bulk_calls import MODELS, call_body

GOAL, GOAL_OF_BEFORE = 1.20, 1.05
_COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()
"""


def sides(collector: int, version: Path | None) -> list[Side]:
    """`collector`: its port; `version`: the root of an earlier version."""
    endpoint = f"tracing: {{endpoint: 'http://127.0.0.1:{collector}'"
    traced = QUIET._replace(name="all traces", settings=f"{QUIET.settings}{endpoint}}}\n")
    sampled = QUIET._replace(name="one trace in 10", settings=f"{QUIET.settings}{endpoint}, sample: 0.1}}\n")
    return [QUIET, traced, sampled, AGAIN, *([before(version)] if version else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="the root of an earlier version without tracing")
    given = parser.parse_args()
    begin("Calls with traces")
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        calls, collector = free_port(), free_port()
        for port, command in (
            (calls, python("-m", "tests.providers.bulk_calls", str(calls))),
            (collector, python("-c", _COLLECTOR, str(collector))),
        ):
            wait_for(port, stack.enter_context(process(command, LOAD_CORE)))
        lists = stack.enter_context(upstreams(LISTED // len(MODELS)))
        bodies = {mode: where / mode for mode in MODELS}
        for mode, file in bodies.items():
            file.write_bytes(call_body(MODELS[mode], streamed=mode == "sse"))
        requests = [
            *(Request("call, JSON", "/v1/chat/completions", connections, bodies["json"]) for connections in (1, 32)),
            Request("call, SSE", "/v1/chat/completions", 32, bodies["sse"]),
        ]
        compared = sides(collector, given.before and given.before.resolve())
        results = measure(where, {side: config(lists, calls, side.settings) for side in compared}, requests)
    rows = [row for request in requests for row in rows_of(request, results[request])]
    print(table(["request", "connections", "server", "CPU us", "ratio", "goal", "met"], rows))


def rows_of(request: Request, results: Results) -> Iterator[list[str]]:
    """The rows of a table. Ratios compare medians over processes with those of `QUIET`."""
    quiet = median(results[QUIET])
    for side, runs in results.items():
        row = [request.name, f"{request.connections}", side.name, f"{median(runs):.1f}"]
        if side == QUIET:
            yield [*row, "", "", ""]
        elif side == AGAIN:
            yield [*row, f"{median(runs) / quiet:.3f}", "", ""]
        else:
            ratio, goal = median(runs) / quiet, GOAL
            if side.version:
                ratio, goal = 1 / ratio, GOAL_OF_BEFORE
            yield [*row, f"{ratio:.3f}", f"<= {goal:.2f}", verdict(ratio <= goal)]


if __name__ == "__main__":
    main()
