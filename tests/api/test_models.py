"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.api.negotiation import accepts_gzip, matches
from proxy.dialects.identity import ACCESS_RULES
from proxy.dialects.private_text import has_secret
from proxy.errors import UpstreamError
from proxy.server.app import Proxy
from tests.fakes import VARY, FakeClock, FakeFetch, Reply, config_of, digest, documented, ids, reply_to, started

pytestmark = pytest.mark.anyio

ALICE, BOB = "sk-canary-alice", "sk-canary-bob"
ALICES, BOBS = {"Authorization": f"Bearer {ALICE}"}, {"Authorization": f"Bearer {BOB}"}

ONE = "providers: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]\n"
TWO = f"""
cache: {{ttl: 100s, max_stale: 1000s, initial_wait: 4s}}
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1"}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1"}}
keys:
  - {{name: alice, hash: "{digest(ALICE)}", models: ["*"]}}
  - {{name: bob, hash: "{digest(BOB)}", models: ["provider:b"]}}
"""

LIST_PATHS = ["/v1/models", "/models", "/v1/models/", "/models/", "/v1/models/models", "/models/models"]
BASES = ["/v1/models/", "/models/", "/v1/models/models/", "/models/models/"]

AIHUBMIX: dict[str, object] = documented("aihubmix_ja")["data"][0]
SHOWN = {
    **AIHUBMIX,
    "owned_by": "openai",
    "permission": [{**AIHUBMIX["permission"][0], "id": f"modelperm-0-{AIHUBMIX['id']}"}],  # type: ignore[index]
}
"""As the proxy lists it: a normalized owner, and a permission id that depends on the model only."""


# -- the list ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LIST_PATHS)
async def test_the_list_has_all_documented_fields(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", AIHUBMIX)
    async with started(config_of(ONE), fetch, clock) as app:
        await clock.advance(7)
        reply = await reply_to(app, path)

    assert (reply.status, reply.json) == (200, {"object": "list", "data": [SHOWN]})
    assert dict(reply.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(reply.body)).encode(),
        b"etag": f'"{hashlib.sha256(reply.body).hexdigest()[:32]}"'.encode(),
        b"cache-control": b"private, no-cache",
        b"vary": VARY,
        b"age": b"7",
        b"x-request-id": dict(reply.headers)[b"x-request-id"],
    }


@pytest.mark.parametrize("path", [*LIST_PATHS, "/v1/models/m", "/models/models/m"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_head_returns_the_headers_of_get_without_the_body(
    path: str, coding: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    sent = {"Accept-Encoding": coding, "X-Request-Id": "mine"}
    async with started(config_of(ONE), fetch, clock) as app:
        get, head = await reply_to(app, path, sent), await reply_to(app, path, sent, method="HEAD")

    assert (head.status, head.headers, head.body) == (200, get.headers, b"")
    assert get.header("content-length") == str(len(get.body))


async def test_an_empty_list_is_returned_as_200(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a")
    async with started(config_of(ONE), fetch, clock) as app:
        reply = await reply_to(app, "/v1/models")

    assert (reply.status, reply.body) == (200, b'{"object":"list","data":[]}')


async def test_a_warm_list_needs_no_fetch_merge_or_encoding(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    async with started(config_of(ONE), fetch, clock) as app:
        plain = [await reply_to(app, "/v1/models") for _ in range(3)]
        packed = [await reply_to(app, "/v1/models", {"Accept-Encoding": "gzip"}) for _ in range(3)]
        answered_again = await reply_to(app, "/models")
        single = [await reply_to(app, "/v1/models/m") for _ in range(3)]

    assert fetch.requests == {"a": 1}
    assert all(reply.body is single[0].body for reply in single)
    assert all(reply.body is plain[0].body for reply in (*plain, answered_again))
    assert all(reply.body is packed[0].body for reply in packed)


async def test_an_unchanged_provider_list_keeps_the_rendered_bytes(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "m", "created": 5})
    async with started(config_of(ONE), fetch, clock) as app:
        before = await reply_to(app, "/v1/models")
        fetch.lists("a", {"id": "m", "created": 5})
        await clock.advance(600)
        after = await reply_to(app, "/v1/models")

    assert fetch.requests["a"] > 1
    assert after.body is before.body


async def test_gzip_decompresses_to_the_same_list(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"m{n}" for n in range(100)))
    async with started(config_of(ONE), fetch, clock) as app:
        plain, packed = (
            await reply_to(app, "/v1/models"),
            await reply_to(app, "/v1/models", {"Accept-Encoding": "br, gzip"}),
        )

    assert gzip.decompress(packed.body) == plain.body
    assert (packed.header("content-encoding"), plain.header("content-encoding")) == ("gzip", None)
    assert packed.header("content-length") == str(len(packed.body))
    assert packed.header("etag") != plain.header("etag")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("*", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip; q=0.001", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("br, deflate, zstd", False),
        ("gzip;q=nonsense", False),
        ("gzip;q=nan", False),
        (";;,,=", False),
        ("gzip;level=9", True),
        ("a," * 300 + "gzip", False),
    ],
)
def test_gzip_is_sent_only_to_clients_that_accept_it(header: str, accepted: bool) -> None:
    assert accepts_gzip(header.encode()) is accepted


# -- unchanged, stale and missing lists ----------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_an_unchanged_list_is_304_until_it_changes(coding: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    sent = {"Accept-Encoding": coding}
    async with started(config_of(ONE), fetch, clock) as app:
        first = await reply_to(app, "/v1/models", sent)
        etag = first.header("etag") or ""
        same = await reply_to(app, "/v1/models", {**sent, "If-None-Match": etag, "X-Request-Id": "mine"})
        fetch.lists("a", "m", "n")
        await clock.advance(600)
        changed = await reply_to(app, "/v1/models", {**sent, "If-None-Match": etag})

    assert (same.status, same.body) == (304, b"")
    assert dict(same.headers) == {
        b"etag": etag.encode(),
        b"cache-control": b"private, no-cache",
        b"vary": VARY,
        b"age": b"0",
        b"x-request-id": b"mine",
    }
    assert changed.status == 200
    assert changed.header("etag") != etag


@pytest.mark.parametrize(
    ("if_none_match", "same"),
    [
        ('"tag"', True),
        ('W/"tag"', True),
        ('"other", "tag"', True),
        ('"other",W/"tag" , "third"', True),
        ("*", True),
        (" * ", True),
        ("", False),
        ('"other"', False),
        ("tag", False),
        ('"tag', False),
        ('"tag-gzip"', False),
        ('"TAG"', False),
        ('"tag", *', True),
        ('*, "other"', False),
    ],
)
def test_if_none_match_accepts_lists_weak_etags_and_a_star(if_none_match: str, same: bool) -> None:
    assert matches(if_none_match.encode(), b'"tag"') is same


async def test_etags_of_different_encodings_do_not_match(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(ONE), fetch, clock) as app:
        plain = await reply_to(app, "/v1/models")
        etag = plain.header("etag") or ""
        packed = await reply_to(app, "/v1/models", {"Accept-Encoding": "gzip", "If-None-Match": etag})

    assert packed.status == 200


async def test_stale_and_missing_providers_are_named_to_keys_that_see_everything_and_counted_for_others(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    def notes(reply: Reply) -> list[str | None]:
        assert reply.status in (200, 304)
        return [reply.header(name) for name in ("age", "x-models-stale", "x-models-missing")]

    fetch.fails("a")
    fetch.lists("b", "m")
    async with started(config_of(TWO), fetch, clock) as app:
        assert notes(await reply_to(app, "/v1/models", ALICES)) == ["0", None, "a"]
        assert notes(await reply_to(app, "/v1/models", BOBS)) == ["0", None, "1"]

        fetch.lists("a", "n")
        fetch.fails("b")
        await clock.advance(100)
        assert notes(await reply_to(app, "/v1/models", ALICES)) == ["100", "b", None]
        assert notes(await reply_to(app, "/v1/models", BOBS)) == ["100", "1", None]
        assert notes(await reply_to(app, "/v1/models/m", ALICES)) == ["100", "b", None]
        assert notes(await reply_to(app, "/v1/models/m", BOBS)) == ["100", "1", None]
        etag = (await reply_to(app, "/v1/models", ALICES)).header("etag") or ""
        assert notes(await reply_to(app, "/v1/models", {**ALICES, "If-None-Match": etag})) == ["100", "b", None]

        await clock.advance(900)
        assert notes(await reply_to(app, "/v1/models", BOBS)) == [None, None, "1"]
        assert (await reply_to(app, "/v1/models/m", ALICES)).status == 503


async def test_lists_of_declared_models_have_no_age_header(fetch: FakeFetch, clock: FakeClock) -> None:
    config = config_of("providers: [{name: lab, kind: static, models: [{id: our-own-13b, owned_by: lab}]}]")
    async with started(config, fetch, clock) as app:
        reply = await reply_to(app, "/v1/models")

    assert (ids(reply.body), reply.header("age")) == (["our-own-13b"], None)


@pytest.mark.parametrize("path", ["/v1/models", "/models/m"])
async def test_the_list_is_503_with_retry_after_while_no_provider_has_responded(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.fails("a", UpstreamError("rate_limited", "status 429 sk-canary", retryable=True, retry_after=31.5))
    async with started(config_of(ONE), fetch, clock) as app:
        reply = await reply_to(app, path)
        fetch.lists("a", "m")
        await clock.advance(31.5)
        recovered = await reply_to(app, path)

    assert (reply.status, reply.header("retry-after")) == (503, "32")
    assert reply.json == {
        "error": {
            "message": "No model list is available: none has been fetched since the start, or all have expired; "
            "retry after 32 s.",
            "type": "service_unavailable_error",
            "param": None,
            "code": "no_models_known",
        }
    }
    assert recovered.status == 200


async def test_requests_wait_for_a_silent_provider_only_during_initial_wait(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.hangs("a")
    fetch.lists("b", "m")
    async with started(config_of(TWO), fetch, clock) as app:
        waiting = [asyncio.create_task(reply_to(app, path, ALICES)) for path in ("/v1/models", "/v1/models/m")]
        await clock.advance(3.9)
        assert not any(task.done() for task in waiting)
        await clock.advance(0.1)
        replies = [task.result() for task in waiting]
        at_once = await reply_to(app, "/v1/models", ALICES)

    assert [reply.status for reply in (*replies, at_once)] == [200, 200, 200]
    assert {reply.header("x-models-missing") for reply in (*replies, at_once)} == {"a"}


# -- one model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
async def test_a_retrieved_model_equals_the_listed_one(base: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", AIHUBMIX, {**AIHUBMIX, "id": "other", "context_length": 8})
    async with started(config_of(ONE), fetch, clock) as app:
        reply = await reply_to(app, base + "gpt-4o-mini", {"Accept-Encoding": "gzip"})
        listed = await reply_to(app, "/v1/models")

    assert (reply.status, reply.json) == (200, SHOWN)
    assert reply.body in listed.body
    assert {name for name, _ in reply.headers} == {
        b"content-type", b"content-length", b"cache-control", b"vary", b"age", b"x-request-id"
    }  # fmt: skip


NASTY_IDS = [
    "models", "models/x", "models/models",
    "..", ".", "../x", "a/../b", "./a", "/", "//", "/a", "a/", "a//b", "v/m:free",
    "@cf/meta/llama", "a b", "%", "%2F", "100%", "a%20b", "%25", "a?b", "a#b", "a+b", "a;b", "a&b=c",
    "测试模型名称1", "模型 v1.0", "🤖/🧠", "é",
    "e\u0301", "\u202eabc", "\ufeff", "\ufffd", "a\u2028b", "a::b", "x.y-v1:0", "~a", "[a]", "\\",
]  # fmt: skip

any_id = st.one_of(
    st.sampled_from(NASTY_IDS),
    st.text(  # an id with a star is no model
        st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="*"), min_size=1, max_size=60
    ),
    st.text(st.sampled_from("a/%2F:. @模?#"), min_size=1, max_size=12),
).filter(lambda model_id: not (model_id.isspace() or has_secret(model_id) or model_id in ACCESS_RULES))
"""Ids that are listed."""


@given(any_id)
@settings(max_examples=150, deadline=None)
async def test_ids_are_retrieved_with_and_without_percent_encoding_under_every_base(model_id: str) -> None:
    fetch = FakeFetch()
    fetch.lists("a", {"id": model_id, "owned_by": "vllm"})  # lists paths, so that `models/x` keeps its prefix
    quoted = quote(model_id, safe="")
    spellings = {quoted, quote(model_id), "".join(f"%{byte:02x}" for byte in model_id.encode())}
    if not re.search("%[0-9A-Fa-f]{2}", model_id) and "?" not in model_id:
        spellings.add(model_id)
    async with started(config_of(ONE), fetch, FakeClock()) as app:
        listed = (await reply_to(app, "/v1/models/")).json["data"]
        through_httpx = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        for base in BASES:
            for spelling in spellings:
                reply = await reply_to(app, base + spelling)
                assert (reply.status, [reply.json]) == (200, listed), spelling
            # Clients normalize `..` in a path, unless it is encoded.
            response = await through_httpx.get(base + quoted.replace(".", "%2E"))
            assert (response.status_code, [response.json()]) == (200, listed)


@given(any_id, any_id)
@example("a%2Fb", "a/b")
@example("a/b", "a%2Fb")
@example("m", "models/m")
@settings(max_examples=100, deadline=None)
async def test_other_ids_are_not_found(listed: str, other: str) -> None:
    fetch = FakeFetch()
    fetch.lists("a", {"id": listed, "owned_by": "vllm"})  # lists paths, so that `models/x` keeps its prefix
    async with started(config_of(ONE), fetch, FakeClock()) as app:
        reply = await reply_to(app, "/v1/models/" + quote(other, safe=""))

    alias = other.removeprefix("models").removeprefix("/")
    if other == listed or (other.startswith("models/") and alias == listed):
        assert reply.json["id"] == listed
    elif other in ("models", "models/"):
        assert ids(reply.body) == [listed]
    else:
        requested = alias if other.startswith("models/") else other
        assert reply.status == 404
        assert reply.json in (not_found(requested), not_found(requested, f" Did you mean '{listed}'?"))


def not_found(model_id: str, hint: str = "") -> dict[str, dict[str, str]]:
    return {
        "error": {
            "message": f"The model '{model_id}' does not exist or you do not have access to it.{hint}",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


async def test_a_model_with_the_id_models_takes_precedence_over_the_alias(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "models", "models/m", "m")
    async with started(config_of(ONE), fetch, clock) as app:
        for path in ("/v1/models/models", "/models/models"):
            assert (await reply_to(app, path)).json["id"] == "models"
        assert (await reply_to(app, "/v1/models/models/m")).json["id"] == "models/m"
        assert (await reply_to(app, "/v1/models/models/models")).json["id"] == "models"
        assert ids((await reply_to(app, "/v1/models")).body) == ["m", "models", "models/m"]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(b"/v1/models/%FF", id="an invalid UTF-8 byte"),
        pytest.param(b"/v1/models/\xff", id="an invalid UTF-8 byte, not encoded"),
        pytest.param(b"/v1/models/%E6%B5", id="an incomplete character"),
        pytest.param(b"/v1/models/%C0%AF", id="an overlong slash"),
        pytest.param(b"/v1/models/%ED%A0%80", id="a surrogate"),
        pytest.param(b"/models/models/%FF", id="below the alias"),
        pytest.param(b"/v1/%6Dodels/m", id="an encoded path"),
        pytest.param(b"/v1/models%2Fm", id="an encoded slash before the id"),
    ],
)
async def test_invalid_utf8_ids_and_encoded_paths_are_404(path: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "\ufffd", "/", "\ufffd\ufffd", "\ufffd\ufffd\ufffd")
    async with started(config_of(ONE), fetch, clock) as app:
        reply = await reply_to(app, path)
        replacement = await reply_to(app, "/v1/models/%EF%BF%BD")

    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")
    assert replacement.json["id"] == "\ufffd"


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        pytest.param(b"/v1/models%0A", False, id="a line feed"),
        pytest.param(b"/v1/models%00", False, id="a NUL"),
        pytest.param(b"/v1/Models", False, id="another case"),
        pytest.param(b"/admin//v1/models", False, id="below another path"),
        pytest.param(b"//v1/models", True, id="two slashes"),
        pytest.param(b"/v1//models//", True, id="slashes at the end"),
        pytest.param(b"/v1/v1/models", True, id="the version twice"),
        pytest.param(b"/openai/models?api-version=2024-10-21", True, id="Azure's path"),
        pytest.param(b"/openai/v1/models", True, id="Azure's path with a version"),
        pytest.param(b"/openai/deployments", True, id="Azure's deployments"),
        pytest.param(b"/v1/models?limit=1&after=m", True, id="unknown parameters"),
        pytest.param(b"/v1/%6Dodels", True, id="encoded letters"),
    ],
)
async def test_the_list_has_paths_with_extra_slashes_and_those_of_azure_and_no_others(
    path: bytes, listed: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with started(config_of(ONE), fetch, clock) as app:
        reply = await reply_to(app, path)

    assert reply.status == (200 if listed else 404)
    assert listed or reply.json["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "model_id"),
    [
        pytest.param(b"//v1/models/v/m", "v/m", id="two slashes at the beginning"),
        pytest.param(b"/v1//models/v%2Fm", "v/m", id="two slashes and an encoded one"),
        pytest.param(b"/v1/v1/models/v/m", "v/m", id="the version twice"),
        pytest.param(b"/v1/models//v/m", "v/m", id="two slashes before the id"),
        pytest.param(b"/v1/models/v//m/", "v/m", id="slashes in and after the id"),
        pytest.param(b"/v1//models/models//v/m", "v/m", id="below the alias"),
        pytest.param(b"/v1//models/a//b", "a//b", id="an id with two slashes"),
        pytest.param(b"/v1//models/a//b/", "a/b/", id="no such id with a slash at the end"),
        pytest.param(b"/v1/models/c/", "c/", id="an id with a slash at the end"),
        pytest.param(b"/openai/models/v%2Fm", "v/m", id="Azure's path"),
        pytest.param(b"/openai/v1/models/v/m", "v/m", id="Azure's path with a version"),
        pytest.param(b"/openai/deployments/v%2Fm", "v/m", id="Azure's deployment"),
    ],
)
async def test_a_model_is_retrieved_under_other_spellings_of_its_path(
    path: bytes, model_id: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "v/m", "a//b", "a/b", "c", "c/")
    async with started(config_of(ONE), fetch, clock) as app:
        reply = await reply_to(app, path)
        listed = await reply_to(app, "/v1/models")

    expected = "a/b" if model_id == "a/b/" else model_id
    assert (reply.status, reply.json["id"]) == (200, expected)
    assert reply.body in listed.body


async def test_a_percent_encoded_slash_is_part_of_the_id(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "v/m")
    async with started(config_of(ONE), fetch, clock) as app:
        statuses = [
            (await reply_to(app, path)).status
            for path in (b"/v1/models/v%2F%2Fm", b"/v1/models/v%2Fm%2F", b"/v1/models/%2F", b"/v1/models/v%2F/m")
        ]

    assert statuses == [404, 404, 404, 404]


# -- forbidden providers --------------------------------------------------------------------------------------------

lists = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["m", "n", "v/m"])},
        optional={
            "owned_by": st.sampled_from(["OpenAI", "Meta"]),
            "created": st.sampled_from([1, 1_600_000_000, 1_700_000_000]),
            "context_length": st.integers(0, 3),
            "parent": st.sampled_from(["p", "q"]),
        },
    ),
    max_size=4,
)


async def all_responses(app: Proxy, headers: Mapping[str, str]) -> Sequence[tuple[object, ...]]:
    """All responses about models that a key gets, without the request id."""
    replies = [
        await reply_to(app, path, {**headers, **more})
        for path in ("/v1/models", "/models/m", "/v1/models/n", "/v1/models/v/m", "/v1/models/unknown")
        for more in ({}, {"Accept-Encoding": "gzip"}, {"If-None-Match": '"x"'})
    ]
    return [(r.status, [h for h in r.headers if h[0] != b"x-request-id"], r.body) for r in replies]


@given(lists, lists, lists)
@settings(max_examples=60, deadline=None)
async def test_no_byte_of_a_response_depends_on_a_forbidden_provider(
    first: list[dict[str, object]], second: list[dict[str, object]], allowed: list[dict[str, object]]
) -> None:
    answers = []
    for forbidden in (first, second):
        fetch = FakeFetch()
        fetch.lists("a", *forbidden)
        fetch.lists("b", *allowed)
        async with started(config_of(TWO), fetch, FakeClock()) as app:
            await reply_to(app, "/v1/models", ALICES)
            answers.append(await all_responses(app, BOBS))

    assert answers[0] == answers[1]
