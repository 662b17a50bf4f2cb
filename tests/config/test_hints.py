"""Hints: the new name of a renamed setting, and the most similar known word."""

from __future__ import annotations

import pytest

from proxy.config.hints import RENAMED, closest, did_you_mean
from tests.config.outcomes import PROVIDER, problems_of

CUSTOM = """\
providers:
  - name: a
    kind: custom
    base_url: http://h
"""
OLD = [
    (f"{PROVIDER}cache: {{patience: 4s}}", "config.yaml:4: cache.patience: renamed to `initial_wait`"),
    (f"{PROVIDER}    patience: 4s", "config.yaml:4: providers[0].patience: renamed to `initial_wait`"),
    (f"{PROVIDER}server:\n  open: true", "config.yaml:5: server.open: renamed to `allow_anonymous`"),
    (f"{PROVIDER}server: {{drain: 5s}}", "config.yaml:4: server.drain: renamed to `drain_delay`"),
    (f"{PROVIDER}server: {{keep_alive: 5s}}", "config.yaml:4: server.keep_alive: renamed to `sse_keepalive`"),
    (
        f"{PROVIDER}defaults: {{between_bytes_timeout: 5s}}",
        "config.yaml:4: defaults.between_bytes_timeout: renamed to `idle_timeout`",
    ),
    (f"{PROVIDER}defaults: {{extra: all}}", "config.yaml:4: defaults.extra: renamed to `extra_fields`"),
    (f"{PROVIDER}    extra: none", "config.yaml:4: providers[0].extra: renamed to `extra_fields`"),
    (f"{CUSTOM}    list: {{path: /m, cut: x/}}", "config.yaml:5: providers[0].list.cut: renamed to `strip_prefix`"),
    (
        f"{PROVIDER}merge: {{duplicates: keep}}",
        "config.yaml:4: merge.duplicates: renamed to `duplicates: by_provider`; found 'keep'",
    ),
    (
        f"{PROVIDER}defaults: {{patience: 4s, initial_wait: 4s}}",
        "config.yaml:4: defaults.patience: renamed to `initial_wait`",
    ),
    (
        f"{PROVIDER}    drain: 5s",
        "config.yaml:4: providers[0].drain: renamed to `drain_delay`; it belongs under `server`",
    ),
]


@pytest.mark.parametrize(("text", "problem"), OLD)
def test_renamed_setting_is_an_error_with_the_new_name(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_every_renamed_setting_is_tested() -> None:
    assert {old for old in RENAMED if any(old in text for text, _ in OLD)} == set(RENAMED)


@pytest.mark.parametrize(("word", "match"), [("tiemout", "timeout"), ("time", "timeout"), ("x", ""), ("", "")])
def test_closest_word_is_similar(word: str, match: str) -> None:
    assert closest(word, ["ttl", "timeout"]) == match
    assert did_you_mean(word, ["ttl", "timeout"]) == (f"; did you mean {match!r}?" if match else "")
