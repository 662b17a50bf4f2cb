"""http-api.md names the paths, headers and fields of the code."""

from __future__ import annotations

import json
import re

from proxy.calls import CALLS, NATIVE_CALLS
from proxy.dialects import EXTRA_NAMES
from proxy.errors import ModelNotFound
from proxy.guards import CONTINUE, REFERENCE_STATE, SELECT_MODELS, SELECT_UPSTREAM
from proxy.inference.request.headers import split_headers
from proxy.inference.response.headers import relayed_headers
from proxy.key_headers import KEY_HEADERS
from proxy.wire.format import BASE_PATHS
from proxy.wire.openai import openai_error
from tests.docs.pages import DOCS, blocks, code, rows, section

PAGE = DOCS / "http-api.md"


def test_every_key_header_is_documented() -> None:
    documented = [name for row in rows(section(PAGE, "Base URL and authentication")) for name in code(row[0])]
    names = [name.partition(":")[0].lower() for name in documented]
    assert sorted(names) == sorted(name.decode() for name in KEY_HEADERS)


def test_every_call_is_documented() -> None:
    documented = [name for row in rows(section(PAGE, "Paths")) if "/admin/" not in row[0] for name in code(row[0])]
    assert [name.removeprefix("POST ") for name in documented if name.startswith("POST ")] == [*CALLS, *NATIVE_CALLS]


def test_every_base_path_is_documented() -> None:
    sentence = section(PAGE, "Base URL and authentication").partition(";")[0]
    documented = {re.sub(r"^(http://host:port|\.\.\.)", "", name) for name in code(sentence) if name != "base_url"}
    assert documented == set(BASE_PATHS)


def test_every_fact_of_a_model_is_documented() -> None:
    documented = {name for row in rows(section(PAGE, "Model lists")) for name in code(row[0])}
    assert {name.partition(".")[0] for name in EXTRA_NAMES} <= documented


def test_every_restricted_field_is_documented() -> None:
    table = rows(section(PAGE, "Calls"))
    cells = [set(code(row[0])) for row in table]
    assert set(SELECT_MODELS) in cells
    assert set(SELECT_UPSTREAM) in cells
    for fields in (CONTINUE, REFERENCE_STATE - CONTINUE):
        assert any(fields <= cell for cell in cells)


def test_every_forwarded_header_is_documented() -> None:
    documented = [name for row in rows(section(PAGE, "Request headers of calls")) for name in code(row[0])]
    _, forwarded = split_headers([(name.encode(), b"1") for name in documented], "alice")
    assert sorted(forwarded) == sorted(documented)
    assert len(documented) == 17


def test_every_relayed_header_is_documented() -> None:
    *_, last = rows(section(PAGE, "Response headers of calls"))
    documented = [name.replace("*", "any").lower().encode() for name in code(last[0])]
    relayed = relayed_headers([(name, b"m") for name in documented], own_id="m", model="m")
    assert [name for name, _ in relayed] == documented
    assert len(documented) == 15


def test_the_sample_of_an_error_is_what_the_proxy_sends() -> None:
    (sample,) = blocks(PAGE, "json")
    sent = json.loads(openai_error(ModelNotFound("m")))
    sent["error"]["message"] = "..."
    assert json.loads(sample) == sent
