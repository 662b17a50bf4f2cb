"""The generation of a configuration: every effective value counts, except secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, SecretStr

from proxy.config import Config, Key
from proxy.config.generation import generation_of
from proxy.config.settings import OwnerRule, Skipped
from tests.config.outcomes import DIGEST, KEY, OTHER_DIGEST, PROVIDER, parsed
from tests.config.test_loader import EVERYTHING

FILES = {"/run/secrets/files": "sk-in-a-file\n", "/run/secrets/more": "sk-in-another"}


@pytest.fixture(scope="module")
def everything(corp_pem: str) -> Config:
    return parsed(EVERYTHING.replace("CORP_PEM", corp_pem), files=FILES)


def test_generation_is_12_hexadecimal_digits_that_never_change() -> None:
    assert (
        generation_of(
            (OwnerRule(match=("gpt-*",), owner="openai"), date(2027, 1, 31), b"digest", SecretStr("sk-canary"))
        )
        == "740e115e7712"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(PROVIDER, f"# comment\n\n{PROVIDER}\n", id="comments and empty lines"),
        pytest.param(PROVIDER, 'providers:\n- {base_url: "http://h", name: a}', id="order and style of settings"),
        pytest.param(
            f"{PROVIDER}groups: {{default: {{models: [a]}}, b: {{models: [c]}}}}\nkeys: []\n",
            f"{PROVIDER}groups: {{b: {{models: [c]}}, default: {{models: [a]}}}}\nkeys: []\n",
            id="order of groups",
        ),
        pytest.param(PROVIDER, f"{PROVIDER}    ttl: 5m\nserver: {{port: 8000}}\n", id="a default that is written out"),
        pytest.param(PROVIDER, f"{PROVIDER}    ttl: 300\n", id="a warning"),
        pytest.param(PROVIDER.replace("//h", "//h.example"), PROVIDER.replace("//h", "//${HOST}"), id="a variable"),
    ],
)
def test_equal_effective_values_have_one_generation(before: str, after: str) -> None:
    assert parsed(before).generation == parsed(after).generation


def test_every_value_except_secrets_changes_the_generation(everything: Config) -> None:
    variants = list(variants_of(everything))
    generations = {variant.generation for _, variant in variants}

    assert len(variants) > 1000
    assert everything.generation not in generations
    assert [where for where, variant in variants if variant.generation == everything.generation] == []


def test_digest_of_a_key_changes_the_generation() -> None:
    text = f"{KEY}    models: [a]\n"
    assert parsed(text).generation != parsed(text.replace(DIGEST, OTHER_DIGEST)).generation


@pytest.mark.parametrize("setting", ["api_key: {}", "headers: {{x-key: {}}}", "proxy: http://u:{}@egress:3128"])
def test_value_of_a_secret_does_not_count_but_its_presence_does(setting: str) -> None:
    one, other = (parsed(f"{PROVIDER}    {setting.format(secret)}\n") for secret in ("sk-canary-1", "sk-canary-2"))
    without = parsed(PROVIDER)

    assert one != other
    assert one.generation == other.generation != without.generation


def test_reason_of_a_skipped_provider_does_not_count() -> None:
    text = PROVIDER + "  - {name: b, base_url: 'http://h', optional: true, api_key_file: /missing}\n"
    (skipped,) = parsed(text).skipped

    assert skipped == Skipped("b", "api_key_file (config.yaml:4) does not exist")
    assert parsed(text).generation == parsed(f"# comment\n{text}").generation != parsed(PROVIDER).generation


@pytest.mark.parametrize("value", ["caf\udce9", 2**64, -(2**63) - 1])
def test_values_that_are_not_utf_8_or_have_more_than_64_bits_count(value: object) -> None:
    assert generation_of({"b": [value], "a": b"x"}) == generation_of({"a": b"x", "b": [value]})
    assert generation_of([value]) != generation_of([value, value])


def test_unknown_values_are_an_error() -> None:
    with pytest.raises(NotImplementedError, match="a configuration contains no object"):
        generation_of(object())


def variants_of(config: Config) -> Iterator[tuple[str, Config]]:
    """Copies of a configuration that differ in one value, with the path of that value."""
    for field in dataclasses.fields(config):
        if field.name in ("warnings", "unchecked", "sources", "places", "skipped"):
            continue
        for where, value in changed(getattr(config, field.name)):
            yield f"{field.name}{where}", dataclasses.replace(config, **{field.name: value})


def changed(value: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a value that differ in one place; none for a secret."""
    match value:
        case SecretStr():
            return
        case Key():
            for name in value.__struct_fields__:
                for where, new in changed(getattr(value, name)):
                    yield f".{name}{where}", msgspec.structs.replace(value, **{name: new})
        case BaseModel():
            for name in type(value).model_fields:
                for where, new in changed(getattr(value, name)):
                    yield f".{name}{where}", value.model_copy(update={name: new})
        case Mapping():
            yield "{}", {**value, "another": "value"}
            for key in value:
                yield f".{key} removed", {other: value[other] for other in value if other != key}
                for where, new in changed(value[key]):
                    yield f".{key}{where}", {**value, key: new}
        case tuple() | list():
            yield "[]", (*value, "another")
            for index, item in enumerate(value):
                for where, new in changed(item):
                    yield f"[{index}]{where}", (*value[:index], new, *value[index + 1 :])
        case bool():
            yield "", not value
        case int() | float():
            yield "", value + 1
        case str():
            yield "", value + "x"
        case bytes():
            yield "", value + b"x"
        case date():
            yield "", value + timedelta(days=1)
        case None:
            yield "", "a value"
        case _ if dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                for where, new in changed(getattr(value, field.name)):
                    yield f".{field.name}{where}", dataclasses.replace(value, **{field.name: new})  # type: ignore[type-var]
        case _:
            raise AssertionError(f"no variant of {type(value)}")
