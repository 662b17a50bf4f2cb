"""Ten providers, five of which fail (dead, hanging, dripping, HTML, 200 MB): the other five are served as usual."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.processes import Process, descriptors, free_port, kibibytes, serving, threads, until
from tests.providers.lists import drips, floods, lists
from tests.providers.scripted import FakeProvider, FakeProviders, hangs, replies

INITIAL_WAIT = 1.0
GOOD = tuple(f"good-{number}" for number in range(5))
BAD = ("dead", "hangs", "drips", "html", "floods")
MODELS = [f"{name}/model-{number:02}" for name in GOOD for number in range(40)]
ATTEMPT = 2.0
"""Seconds until an attempt to fetch a list times out."""
MEASURED = 3.0
"""Seconds."""
MOST_THREADS = 2 + min(32, (os.cpu_count() or 1) + 4)
"""The event loop, the log, and the pool of the event loop, which grows when a machine is busy, and then stays."""

HTML = replies(b"<!doctype html><title>Sign in</title>", headers={"Content-Type": "text/html"})


@dataclass(frozen=True)
class Rig:
    """Two proxies with the same five good providers; one of them also has the five failing ones."""

    good: Sequence[FakeProvider]
    bad: Sequence[FakeProvider]
    calm: Process
    troubled: Process
    started_at: float
    """When the process `troubled` was about to start: monotonic seconds."""
    cold: httpx.Response
    """The first response of the proxy with failing providers, requested right after its start."""
    cold_at: float
    """When `cold` arrived: monotonic seconds."""
    attempts: int
    """Of the hanging provider's list, when `cold` arrived."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    place = tmp_path_factory.mktemp("ten")
    with FakeProviders() as upstreams:
        good = [upstreams.open(lists(*(model for model in MODELS if model.startswith(name)))) for name in GOOD]
        bad = [upstreams.open(reply) for reply in (hangs, drips, HTML, floods)]
        of_good = [
            f'  - {{name: {name}, base_url: "{provider.url}"}}' for name, provider in zip(GOOD, good, strict=True)
        ]
        dead = f"http://127.0.0.1:{free_port()}"
        of_bad = [
            f'  - {{name: {name}, base_url: "{url}"}}'
            for name, url in zip(BAD, [dead, *(provider.url for provider in bad)], strict=True)
        ]
        port = free_port()
        with (
            serving(place / "calm.yaml", _config([*of_good])) as calm,
            _timed(serving(place / "troubled.yaml", _config([*of_bad, *of_good]), port=port)) as (started_at, troubled),
        ):
            cold = _first_response(port)
            yield Rig(good, bad, calm, troubled, started_at, cold, time.monotonic(), len(bad[0].requests))


@contextmanager
def _timed(starting: AbstractContextManager[Process]) -> Iterator[tuple[float, Process]]:
    began = time.monotonic()
    with starting as process:
        yield began, process


def _config(providers: Sequence[str]) -> str:
    settings = f"""
cache: {{ttl: 3s, initial_wait: {INITIAL_WAIT:g}s}}
defaults: {{timeout: {3 * ATTEMPT:g}s}}
providers:
"""
    return settings + "\n".join(providers)


def _first_response(port: int) -> httpx.Response:
    """Retried only while the port is closed."""
    with httpx.Client(transport=httpx.HTTPTransport(retries=0), timeout=30, trust_env=False) as client:
        responses: list[httpx.Response] = []

        def has_response() -> bool:
            try:
                responses.append(client.get(f"http://127.0.0.1:{port}/v1/models"))
            except httpx.ConnectError:
                return False
            return True

        until(has_response)
    return responses[0]


def models(answer: httpx.Response) -> list[str]:
    return [model["id"] for model in answer.json()["data"]]


def list_of(process: Process) -> httpx.Response:
    return httpx.get(f"{process.url}/v1/models", trust_env=False, timeout=30)


def test_the_cold_list_is_served_after_initial_wait_with_the_five_good_providers(rig: Rig) -> None:
    assert models(rig.cold) == MODELS
    assert rig.cold.headers["x-models-missing"] == ", ".join(BAD)
    assert "x-models-stale" not in rig.cold.headers
    assert rig.cold_at - rig.started_at > INITIAL_WAIT, "not before, although a busy machine delays its first requests"
    assert rig.attempts == 1, "not only when the provider has failed"


def test_warm_responses_are_as_fast_as_without_failing_providers(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests alternate between both proxies. `benchmarks/callers.py` measures more than the median."""
    asked_before = [len(upstream.requests) for upstream in rig.bad]
    with Process("-m", "tests.latency", f"{MEASURED}", rig.calm.url, rig.troubled.url) as measuring:
        assert (measuring.wait(), measuring.err) == (0, [])
        calm, troubled = (json.loads(line) for line in measuring.out)
    with capsys.disabled():
        print(f"\n  warm lists of {len(MODELS)} models, in ms, without / with five bad providers:", end="")
        print(*(f" {name} {calm[name]:.2f} / {troubled[name]:.2f}" for name in calm), sep=",")
    for upstream, before in zip(rig.bad, asked_before, strict=True):
        until(lambda: len(upstream.requests) > before)  # noqa: B023
    assert troubled["p50"] < 3 * calm["p50"]
    assert troubled["longest"] < ATTEMPT * 1000, "no request waits for a provider"


def test_peak_memory_stays_below_200_mib(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    peaks = [kibibytes(process.pid, "VmHWM") / 1024 for process in (rig.calm, rig.troubled)]
    with capsys.disabled():
        print(f"\n  most memory ever held, without / with five bad providers: {peaks[0]:.0f} / {peaks[1]:.0f} MiB")
    assert peaks[1] < 200


def test_lists_are_kept_and_marked_stale_when_all_providers_fail(rig: Rig) -> None:
    for upstream in rig.good:
        upstream.script = replies({"error": {"message": "out of order"}}, 500)
    until(lambda: list_of(rig.troubled).headers.get("x-models-stale") == ", ".join(GOOD))
    answer = list_of(rig.troubled)
    assert (answer.status_code, models(answer)) == (200, MODELS)
    assert answer.headers["x-models-missing"] == ", ".join(BAD)
    assert answer.headers["etag"] == list_of(rig.calm).headers["etag"]
    health = httpx.get(f"{rig.troubled.url}/health", trust_env=False, timeout=30)
    assert (health.status_code, health.json()["status"]) == (200, "degraded")


def test_no_descriptor_or_thread_leaks(rig: Rig) -> None:
    """Once no provider hangs or drips, it has as many descriptors as the proxy without failing providers."""
    for process in (rig.calm, rig.troubled):
        assert list_of(process).status_code == 200  # compressed in a thread that stays
    for upstream in (*rig.good, *rig.bad):
        upstream.script = replies(b"", 500)
    until(lambda: descriptors(rig.troubled.pid) == descriptors(rig.calm.pid))
    assert threads(rig.troubled.pid) <= MOST_THREADS
