"""Measure the latency of warm model lists in a separate process, unaffected by other work of the test.

`python -m tests.latency SECONDS URL URL ...` requests the URLs in turns and prints one JSON object for each.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from urllib.parse import urlsplit

REQUESTS = 100
"""Number of consecutive requests to one URL."""


def main(seconds: float, urls: list[str]) -> None:
    rounds: dict[str, list[list[float]]] = {url: [] for url in urls}
    connections = {url: http.client.HTTPConnection(urlsplit(url).netloc, timeout=10) for url in urls}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for url in urls:
            rounds[url].append([_milliseconds(connections[url]) for _ in range(REQUESTS)])
    for url in urls:
        print(json.dumps(_statistics(rounds[url])))


def _milliseconds(connection: http.client.HTTPConnection) -> float:
    start = time.perf_counter()
    connection.request("GET", "/v1/models")
    response = connection.getresponse()
    response.read()
    assert response.status == 200
    return (time.perf_counter() - start) * 1000


def _statistics(rounds: list[list[float]]) -> dict[str, float]:
    """The medians of the p50 and p99 of all rounds, and the longest request, in milliseconds."""
    cuts = [statistics.quantiles(times, n=100) for times in rounds]
    return {
        "p50": statistics.median(cut[49] for cut in cuts),
        "p99": statistics.median(cut[98] for cut in cuts),
        "longest": max(map(max, rounds)),
    }


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
