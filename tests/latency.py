"""How long warm lists take, in a process of its own, so that nothing else that a test does is measured.

`python -m tests.latency SECONDS URL URL ...` requests all of them in turns and prints a JSON object for each.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from urllib.parse import urlsplit

REQUESTS = 100
"""To one URL, before the next URL."""


def main(seconds: float, urls: list[str]) -> None:
    rounds: dict[str, list[list[float]]] = {url: [] for url in urls}
    connections = {url: http.client.HTTPConnection(urlsplit(url).netloc, timeout=10) for url in urls}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for url in urls:
            rounds[url].append([_milliseconds(connections[url]) for _ in range(REQUESTS)])
    for url in urls:
        print(json.dumps(_figures(rounds[url])))


def _milliseconds(connection: http.client.HTTPConnection) -> float:
    began = time.perf_counter()
    connection.request("GET", "/v1/models")
    response = connection.getresponse()
    response.read()
    assert response.status == 200
    return (time.perf_counter() - began) * 1000


def _figures(rounds: list[list[float]]) -> dict[str, float]:
    """Medians over the rounds of what 50 and 99 % of a round's requests stayed below; and the longest of all."""
    cuts = [statistics.quantiles(one, n=100) for one in rounds]
    return {
        "p50": statistics.median(cut[49] for cut in cuts),
        "p99": statistics.median(cut[98] for cut in cuts),
        "longest": max(map(max, rounds)),
    }


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
