"""22. The instructions of a call with limits, beside one without. Unlike times, they hardly depend on other work."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.harness import LOAD_CORE, begin, folder, free_port, process, python, table, wait_for
from benchmarks.limits import LIMITS, key, with_keys
from tests.providers.bulk_calls import call_body

CALLERS = 1000
FIRST = "of the first callers"
"""These have rows of their own in metrics, which takes less time."""
KINDS = {
    FIRST: "",
    "without limits": "",
    "with a limit of requests": "requests: 36k/h",
    "with four limits": LIMITS.replace("600/m", "36k/h"),
}
"""The limits of each kind of key. A window of an hour, because calls take fifty times as long as usual."""
ROUNDS = 3


def main() -> None:
    begin("Instructions of calls")
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed (`apt-get install valgrind`)")
    counts = _counts()
    reference = counts["without limits"]
    rows = [
        [kind, *(f"{count:,.0f}" for count in rounds), f"{median(rounds) / median(reference):.3f}"]
        for kind, rounds in counts.items()
    ]
    print(table([f"calls of {CALLERS} callers in turn", *["instructions"] * ROUNDS, "/ without"], rows))


def _counts() -> dict[str, list[float]]:
    """Instructions of a call in user space, by kind and round."""
    counts: dict[str, list[float]] = {kind: [] for kind in KINDS if kind != FIRST}
    with ExitStack() as stack:
        where, port = Path(stack.enter_context(folder())), free_port()
        provider = stack.enter_context(process(python("-m", "tests.providers.bulk_calls", str(port)), LOAD_CORE))
        wait_for(port, provider)
        command = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={where}/out")
        server = with_keys(stack, where, port, KINDS, lambda _: range(CALLERS), command)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for kind in KINDS:
            _call(connection, kind)
        for _ in range(ROUNDS):
            for kind, rounds in counts.items():
                _control(server.pid, "--instr=on", "--zero")
                _call(connection, kind)
                _control(server.pid, f"--dump={kind}", "--instr=off")
                newest = max(where.glob("out.*"), key=lambda path: int(path.suffix[1:]))
                total = re.findall(r"^(?:totals|summary): (\d+)", newest.read_text(), re.MULTILINE)[-1]
                rounds.append(int(total) / CALLERS)
    return counts


def _call(connection: http.client.HTTPConnection, kind: str) -> None:
    body = call_body("json", streamed=False)
    for number in range(CALLERS):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key(kind, number)}"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise SystemExit(f"error: a call got status {response.status}")


def _control(pid: int, *options: str) -> None:
    for option in options:
        subprocess.run(["callgrind_control", option, str(pid)], check=True, capture_output=True)  # noqa: S603, S607


if __name__ == "__main__":
    main()
