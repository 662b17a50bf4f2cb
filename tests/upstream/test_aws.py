"""Kind bedrock: requests are signed, and the fake provider verifies each signature (AWS Signature Version 4)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from functools import reduce
from urllib.parse import parse_qsl, quote

import pytest

from proxy.config import ConfigError, Provider, parse
from proxy.upstream.lists import ListFetcher
from tests.config.outcomes import parsed, problems_of
from tests.fakes import HastyClock
from tests.providers.scripted import Exchange, Script, fake_provider, in_sequence, replies
from tests.providers.server import Request
from tests.upstream.fetching import failure, fetch_list, ids, provider

pytestmark = pytest.mark.anyio

KEY_ID = "AKIDCANARY0000000000"
SECRET = "canary/secret+access+key+of+nobody"
TOKEN = "canary-session-token-0123456789"
KEYS = {"access_key_id": KEY_ID, "secret_access_key": SECRET}
MODELS = {"modelSummaries": [{"modelId": "acme.rocket-v1:0"}]}
PROFILES = {"inferenceProfileSummaries": [{"inferenceProfileId": "us.acme.rocket-v1:0", "status": "ACTIVE"}]}
MORE = {"inferenceProfileSummaries": [{"inferenceProfileId": "eu.acme.rocket-v1:0", "status": "ACTIVE"}]}
TOKEN_OF_PAGE = "a+b/c=="
REFUSED = {"message": "The security token included in the request is invalid."}
NOT_THERE: dict[str, str | None] = {
    "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_SESSION_TOKEN": None, "AWS_PROFILE": None,
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "BOTO_CONFIG": "/nowhere",
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which botocore finds no keys, and requests none from a network."""
    for name, value in NOT_THERE.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return monkeypatch


def signature_of(request: Request, secret: str, region: str) -> str:
    """The signature that AWS computes for a request without a body, from its documentation."""
    _, signed, _ = _authorization(request)
    query = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in _query(request))
    canonical = "\n".join(
        [
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{request.headers[name]}" for name in signed.split(";")),
            "",
            signed,
            hashlib.sha256(b"").hexdigest(),
        ]
    )
    moment = request.headers["x-amz-date"]
    scope = f"{moment[:8]}/{region}/bedrock/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = reduce(_hmac, scope.split("/"), f"AWS4{secret}".encode())
    return _hmac(key, text).hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _query(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.target.partition("?")[2], keep_blank_values=True)


def _authorization(request: Request) -> tuple[str, str, str]:
    """The credential, the names of signed headers, and the signature."""
    pattern = r"AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})"
    match = re.fullmatch(pattern, request.headers.get("authorization", ""))
    assert match, "not signed"
    return match[1], match[2], match[3]


def bedrock(secret: str = SECRET, region: str = "eu-west-1", token: str | None = None) -> Script:
    """A provider that returns both lists, the second one in two pages, to requests with a valid signature."""

    async def script(exchange: Exchange) -> None:
        request = exchange.request
        credential, signed, signature = _authorization(request)
        is_valid = (
            credential == f"{KEY_ID}/{request.headers['x-amz-date'][:8]}/{region}/bedrock/aws4_request"
            and {"host", "x-amz-date"} <= set(signed.split(";"))
            and hmac.compare_digest(signature, signature_of(request, secret, region))
            and request.headers.get("x-amz-security-token") == token
        )
        answer: Mapping[str, object] = MODELS
        if request.path == "/inference-profiles":
            is_last = dict(_query(request)).get("nextToken") == TOKEN_OF_PAGE
            answer = MORE if is_last else {**PROFILES, "nextToken": TOKEN_OF_PAGE}
        await replies(answer if is_valid else REFUSED, 200 if is_valid else 403)(exchange)

    return script


def at(url: str, **settings: object) -> Provider:
    return provider(url, **{"kind": "bedrock", "region": "eu-west-1", "retries": 0, **settings})


ALL = ["acme.rocket-v1:0", "us.acme.rocket-v1:0", "eu.acme.rocket-v1:0"]


async def test_both_lists_are_read_with_signed_requests(environment: pytest.MonkeyPatch) -> None:
    async with fake_provider(bedrock()) as server:
        result = await fetch_list(at(server.url, **KEYS))
    assert (ids(result), result.pages) == (ALL, 3)
    assert [request.target for request in server.requests] == [
        "/foundation-models",
        "/inference-profiles?maxResults=1000",
        "/inference-profiles?maxResults=1000&nextToken=a%2Bb%2Fc%3D%3D",
    ]


async def test_session_token_is_sent_and_signed(environment: pytest.MonkeyPatch) -> None:
    async with fake_provider(bedrock(token=TOKEN)) as server:
        assert ids(await fetch_list(at(server.url, **KEYS, session_token=TOKEN))) == ALL
    assert "x-amz-security-token" in _authorization(server.requests[0])[1]


async def test_keys_of_the_environment_are_used_without_keys_in_the_file(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    async with fake_provider(bedrock(region="us-west-2")) as server:
        assert ids(await fetch_list(at(server.url, region="us-west-2"))) == ALL


async def test_api_key_is_sent_without_a_signature(environment: pytest.MonkeyPatch) -> None:
    async with fake_provider(in_sequence(replies(MODELS), replies(MORE))) as server:
        result = await fetch_list(at(server.url, api_key="bedrock-api-key-canary"))
    assert ids(result) == [ALL[0], ALL[2]]
    for request in server.requests:
        assert request.headers["authorization"] == "Bearer bedrock-api-key-canary"
        assert "x-amz-date" not in request.headers


async def test_error_of_the_second_list_has_its_url(environment: pytest.MonkeyPatch) -> None:
    async with fake_provider(in_sequence(replies(MODELS), replies(REFUSED, 500))) as server:
        error = await failure(at(server.url, **KEYS))
    assert error.url == f"{server.url}/inference-profiles"


async def test_rejected_keys_are_reported_without_them(environment: pytest.MonkeyPatch) -> None:
    async with fake_provider(bedrock(secret="another")) as server:
        error = await failure(at(server.url, **KEYS, session_token=TOKEN))
    assert (error.kind, error.reason) == (
        "unauthorized",
        "permission denied (403: The security token included in the request is invalid.): "
        "check the provider's AWS credentials",
    )


async def test_response_that_repeats_the_keys_of_the_environment_does_not_show_them(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    async with fake_provider(replies({"message": f"denied {SECRET} {KEY_ID}"}, 400)) as server:
        error = await failure(at(server.url))
    assert error.reason == "status 400: denied *** ***"


async def test_missing_keys_are_reported_before_anything_is_sent(environment: pytest.MonkeyPatch) -> None:
    async with fake_provider(bedrock()) as server:
        error = await failure(at(server.url))
    assert (error.kind, error.reason, server.requests) == (
        "unauthorized",
        "no AWS credentials: set access_key_id and secret_access_key, api_key, or AWS_ACCESS_KEY_ID",
        [],
    )


async def test_keys_that_botocore_cannot_load_are_reported_by_the_kind_of_the_error(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("AWS_PROFILE", "sk-canary-profile")
    async with fake_provider(bedrock()) as server:
        error = await failure(at(server.url))
    assert error.reason == "AWS credentials cannot be loaded (ProfileNotFound)"


async def test_keys_are_loaded_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    async with fake_provider(bedrock()) as server:
        target = at(server.url)
        fetch = ListFetcher([target], HastyClock())
        assert ids(await fetch(target, 0)) == ALL
        environment.setenv("AWS_SECRET_ACCESS_KEY", "another")
        assert ids(await fetch(target, 0)) == ALL


# -- settings ----------------------------------------------------------------------------------------------------------

TEXT = "providers:\n  - name: a\n    kind: bedrock\n    region: us-east-1\n"


def test_base_url_is_derived_from_the_region() -> None:
    (target,) = parsed(TEXT).providers
    assert (target.base_url, target.target) == ("https://bedrock.us-east-1.amazonaws.com", None)
    (other,) = parsed(TEXT + "    base_url: https://vpce.example\n").providers
    assert other.base_url == "https://vpce.example"


def test_keys_are_not_shown() -> None:
    text = TEXT + json.dumps(KEYS | {"session_token": TOKEN})[1:-1].replace(", ", "\n    ").replace('"acc', '    "acc')
    (target,) = parsed(text).providers
    assert not any(secret in repr(target) for secret in (KEY_ID, SECRET, TOKEN))


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        pytest.param(
            "    access_key_id: a\n", ["secret_access_key: is missing; access_key_id requires it"], id="half a key"
        ),
        pytest.param(
            "    session_token: a\n",
            ["access_key_id: is missing; session_token requires it",
             "secret_access_key: is missing; session_token requires it"],
            id="a token alone",
        ),
        pytest.param(
            "    api_key: k\n    access_key_id: a\n    secret_access_key: b\n",
            ["access_key_id: conflicts with api_key; set only one"],
            id="two credentials",
        ),
    ],
)  # fmt: skip
def test_conflicting_keys_are_rejected(settings: str, problems: list[str]) -> None:
    assert sorted(problem.partition("providers[0].")[2] for problem in problems_of(TEXT + settings)) == problems


def test_region_cannot_change_the_host() -> None:
    (problem,) = problems_of(TEXT.replace("us-east-1", "evil.example/"))
    assert problem.startswith("config.yaml:4: providers[0].region: must match `[a-z]{2,}(-[a-z0-9]+)+`")


def test_region_is_required() -> None:
    (problem,) = problems_of(TEXT.replace("    region: us-east-1\n", ""))
    assert problem == "config.yaml:2: providers[0].region: is missing; kind bedrock requires it"


def test_keys_are_for_kinds_with_signed_requests() -> None:
    text = "providers:\n  - name: a\n    kind: openai\n    base_url: http://h\n    access_key_id: a\n"
    assert problems_of(text) == [
        "config.yaml:5: providers[0].access_key_id: is only supported by kind bedrock; this provider has kind openai"
    ]


def problems_without_botocore(text: str, *, offline: bool = False) -> tuple[str, ...]:
    """The problems of a text, or else its warnings, where no optional library is installed."""
    try:
        return parse(text, is_installed=lambda library: False, offline=offline).warnings
    except ConfigError as error:
        return tuple(map(str, error.problems))


def test_missing_botocore_is_reported_with_the_command_that_installs_it() -> None:
    (problem,) = problems_without_botocore(TEXT)
    assert problem == (
        "config.yaml:3: providers[0].kind: requires the library botocore, which is not installed; "
        "run `pip install 'models-proxy[bedrock]'`, or set `api_key`"
    )


def test_missing_botocore_is_a_warning_offline() -> None:
    (warning,) = problems_without_botocore(TEXT, offline=True)
    assert warning.endswith("requires the library botocore, which is not installed; this value was not checked")


@pytest.mark.parametrize("setting", ["api_key: k", "disabled: true", "optional: true\n    session_token: ${NO}"])
def test_botocore_is_not_needed_with_an_api_key_or_while_the_provider_is_skipped(setting: str) -> None:
    text = f"{TEXT}    {setting}\n" + "    access_key_id: a\n    secret_access_key: b\n" * ("NO" in setting)
    assert problems_without_botocore(text + "  - name: b\n    base_url: http://h\n") == ()
