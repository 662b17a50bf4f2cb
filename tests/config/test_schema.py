"""The JSON Schema of the configuration accepts every valid file, and finds the common mistakes that `check` finds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.cli.schema import included_schema, main_schema
from tests.config.outcomes import DIGEST, OTHER_DIGEST, problems_of
from tests.config.test_loader import EVERYTHING
from tests.docs.test_examples import CONFIGURATIONS, EXAMPLE_PROVIDER
from tests.paths import ROOT
from tests.test_shipped_files import uncommented

STATIC = "providers: [{name: lab, kind: static, models: [m]}]\n"


def values(text: str) -> Any:
    """As an editor reads YAML: a date is a string, and `off` too."""
    return json.loads(json.dumps(yaml.safe_load(text), default=date.isoformat))


def errors(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(main_schema())
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(values(text))]


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(main_schema())
    jsonschema.Draft202012Validator.check_schema(included_schema())


def configurations() -> Iterator[Any]:
    shipped = (ROOT / "config.yaml").read_text(encoding="utf-8")
    # A provider has one credential, and the file shows several.
    others = r"    (?:iam|oauth|access_key_id|secret_access_key|session_token): .*"
    yield pytest.param(shipped, id="config.yaml")
    yield pytest.param(re.sub(others, "", uncommented(shipped)), id="config.yaml, with every setting")
    yield pytest.param(EVERYTHING, id="every setting")
    for page, block in CONFIGURATIONS:
        yield pytest.param(block if "providers:" in block else block + EXAMPLE_PROVIDER, id=page)


@pytest.mark.parametrize("text", list(configurations()))
def test_every_valid_configuration_of_the_repository_is_accepted(text: str) -> None:
    assert errors(text) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("server: {port: '${PORT}', host: '${HOST}', allow_anonymous: '${OPEN:-true}'}\n", id="variables"),
        pytest.param("server: {port: '8000', drain_delay: 5, max_request: 1024}\n", id="without units"),
        pytest.param("server: {metrics: off, limits: {connections_per_address: off}}\n", id="off, or false"),
        pytest.param("cache:\nserver:\ngroups:\nkeys:\nowners:\n", id="sections without a value"),
        pytest.param("include:\n", id="no included files"),
        pytest.param("x-anchors: {a: &a 1}\n", id="a section for anchors"),
        pytest.param("defaults: {headers: {X-A: b}, failover_on: [429, '503', timeout]}\n", id="statuses as text"),
    ],
)
def test_what_check_accepts_is_accepted(text: str) -> None:
    assert problems_of(text + STATIC, {"PORT": "8000", "HOST": "h", "OPEN": "true"}) == []
    assert errors(text + STATIC) == []


def entry(settings: str) -> str:
    return f"{STATIC}keys: [{{name: k, {settings}}}]\n"


def provider(settings: str) -> str:
    return f"providers: [{{name: a, {settings}}}]\n"


MISTAKES = {
    "an unknown section": f"{STATIC}severs: {{}}\n",
    "an unknown setting": f"{STATIC}server: {{prot: 1}}\n",
    "an unknown setting of a provider": provider("base_url: http://h, base_ulr: http://h"),
    "an unknown setting of a key": entry(f"hash: '{DIGEST}', models: [], modles: []"),
    "an old name of a setting": f"{STATIC}server: {{drain: 5s}}\n",
    "a setting of another section": f"{STATIC}server: {{ttl: 5m}}\n",
    "a setting of another kind": provider("base_url: http://h, workspace_id: w"),
    "a mapping for a list": "providers: {a: {base_url: http://h}}\n",
    "a list for a mapping": f"{STATIC}server: [port]\n",
    "a text for a list": provider("base_url: http://h, include: gpt-*"),
    "a text for a list of rules": f"{STATIC}groups: {{default: {{models: '*'}}}}\n",
    "a number for a text": provider("base_url: http://h, owner: 5"),
    "a text for a number": f"{STATIC}server: {{port: http}}\n",
    "a number out of range": f"{STATIC}server: {{port: 70000}}\n",
    "a negative number": f"{STATIC}defaults: {{retries: -1}}\n",
    "a text for a boolean": provider("base_url: http://h, optional: maybe"),
    "a list for a boolean": provider("base_url: http://h, optional: []"),
    "an unknown unit of time": f"{STATIC}cache: {{ttl: 5 minutes}}\n",
    "no time at all": f"{STATIC}cache: {{ttl: 0}}\n",
    "an unknown unit of size": f"{STATIC}server: {{max_request: 5MB}}\n",
    "an unknown word": f"{STATIC}merge: {{duplicates: join}}\n",
    "an unknown strategy": f"{STATIC}routing: [{{match: '*', strategy: random}}]\n",
    "an unknown kind": provider("kind: opneai, base_url: http://h"),
    "an unknown condition of failover": f"{STATIC}defaults: {{failover_on: [never]}}\n",
    "an unknown API": provider("base_url: http://h, speaks: [grpc]"),
    "no name": "providers: [{base_url: http://h}]\n",
    "an invalid name": "providers: [{name: a b, base_url: http://h}]\n",
    "no URL": "providers: [{name: a}]\n",
    "no scheme": provider("base_url: api.example.com"),
    "a URL with a query": provider("base_url: 'http://h?key=1'"),
    "no models of a static provider": provider("kind: static"),
    "no list of a custom provider": provider("kind: custom, base_url: http://h"),
    "no required setting of a kind": provider("kind: pangu, base_url: http://h, api_key: k"),
    "two credentials": provider("base_url: http://h, api_key: k, api_key_file: /k"),
    "a login without a secret": provider("base_url: http://h, oauth: {url: http://h, id: i}"),
    "an invalid path of a list": provider("kind: custom, base_url: http://h, list: {path: models}"),
    "an invalid form of authentication": provider("kind: custom, base_url: http://h, list: {path: /m, auth: token}"),
    "an unknown style of paging": provider("kind: custom, base_url: http://h, list: {path: /m, paging: {style: next}}"),
    "a rule without a field": provider("base_url: http://h, where: [{is: true}]"),
    "an override without a pattern": provider("base_url: http://h, overrides: [{context_length: 1}]"),
    "a declared model without an id": provider("kind: static, models: [{name: m}]"),
    "no value": f"{STATIC}server: {{port: }}\n",
    "no digest of a key": entry("models: []"),
    "a key and a digest": entry(f"models: [], hash: '{DIGEST}', key: '${{CI_KEY}}'"),
    "two kinds of digests": entry(f"models: [], hash: '{DIGEST}', hashes: ['{OTHER_DIGEST}']"),
    "a plaintext key": entry("models: [], key: sk-canary-1234567890"),
    "an invalid digest": entry("models: [], hash: sk-canary-1234567890"),
    "no digests": entry("models: [], hashes: []"),
    "a key without rules": entry(f"hash: '{DIGEST}'"),
    "an invalid date": entry(f"hash: '{DIGEST}', models: [], expires: tomorrow"),
    "a virtual model without targets": f"{STATIC}models: [{{id: smart}}]\n",
    "an owner rule without an owner": f"{STATIC}owners: [{{match: ['*']}}]\n",
    "no match of an owner rule": f"{STATIC}owners: [{{match: [], owner: o}}]\n",
}


@pytest.mark.parametrize("text", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_found_by_the_schema_and_by_check(text: str) -> None:
    assert problems_of(text)
    assert errors(text)


def test_an_included_file_has_only_the_sections_that_can_be_included() -> None:
    assert set(included_schema()["properties"]) <= set(main_schema()["properties"]) - {"server", "cache", "defaults"}
    validator = jsonschema.Draft202012Validator(included_schema())
    keys = values(f"keys: [{{name: k, hash: '{DIGEST}', group: staff}}]")
    assert list(validator.iter_errors(keys)) == []
    assert list(validator.iter_errors({**keys, "server": {}})) != []


def test_settings_have_their_meaning_default_and_example() -> None:
    port = main_schema()["$defs"]["Server"]["properties"]["port"]
    assert port["description"] == (
        "TCP port; 0 selects a free one. `--port` overrides it.\n\nDefault: `8000`.\n\nExample: `port: 8080`"
    )
    ttl = main_schema()["$defs"]["Provider"]["properties"]["ttl"]
    assert ttl["description"].startswith("How long a list is fresh.")


def test_the_shipped_file_names_its_schema() -> None:
    first = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=config.schema.json"
    assert json.loads((ROOT / "config.schema.json").read_text(encoding="utf-8")) == main_schema()
