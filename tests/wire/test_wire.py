"""The encoded bytes, compared with the source documents."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.responses import ResponseErrorEvent

from proxy.catalog import Catalog, Model, Offer
from proxy.dialects.entry import Entry, Permission
from proxy.errors import (
    ApiError,
    BadRequest,
    Forbidden,
    InternalError,
    InvalidKey,
    MethodNotAllowed,
    ModelListUnavailable,
    ModelNotFound,
    PathNotFound,
    ResponseNotFound,
    UpstreamTimeout,
    VersionsNotFound,
    WebsocketNotSupported,
)
from proxy.wire import format_of
from proxy.wire.encoder import encode
from proxy.wire.openai import model_list, model_object, openai_error
from proxy.wire.pangu import pangu_error, versions_page
from tests.fakes import documented, entry

AIHUBMIX: dict[str, Any] = documented("aihubmix_ja")["data"][0]
PERMISSION: dict[str, Any] = AIHUBMIX["permission"][0]
"""The entry of the AiHubMix document, field by field."""


def model(source: Entry, *, public: str = "", owner: str = "OpenAI", created: int | None = None) -> Model:
    return Model((Offer(public or source.id, "a", owner, source),), source.created if created is None else created)


def test_a_listed_model_equals_the_documented_entry_except_for_the_permission_id() -> None:
    made = msgspec.json.decode(model_object(model(entry(AIHUBMIX))))

    [permission] = made["permission"]
    assert made == {**AIHUBMIX, "permission": [{**PERMISSION, "id": f"modelperm-0-{AIHUBMIX['id']}"}]}
    assert list(made) == list(AIHUBMIX)
    assert list(permission) == list(PERMISSION)


@pytest.mark.parametrize("permission", [None, [], "missing", 5, [None, "x"], {}])
def test_a_permission_entry_is_generated_if_the_provider_sent_none(permission: object) -> None:
    given = {name: value for name, value in AIHUBMIX.items() if name != "permission"}
    given |= {} if permission == "missing" else {"permission": permission}

    assert model_object(model(entry(given))) == model_object(model(entry(AIHUBMIX)))


def test_permission_flags_are_kept_and_ids_generated_per_request_are_not() -> None:
    invented = {"id": "modelperm-random", "created": 1_799_999_999, "organization": "org-canary", "group": "g", "x": 1}
    given = {
        **AIHUBMIX,
        "permission": [{**invented, "allow_view": False, "is_blocking": True, "allow_sampling": "yes"}],
    }
    [permission] = msgspec.json.decode(model_object(model(entry(given))))["permission"]

    assert permission == {**PERMISSION, "id": permission["id"], "allow_view": False, "is_blocking": True}
    assert permission["id"] != "modelperm-random"


def test_permission_ids_are_stable_and_unique() -> None:
    given = Entry("m", permissions=(Permission(),) * 100)
    ids = [permission["id"] for permission in msgspec.json.decode(model_object(model(given)))["permission"]]

    assert ids == [f"modelperm-{index}-m" for index in range(100)]
    assert model_object(model(given)) == model_object(model(given))
    assert ids[0] != msgspec.json.decode(model_object(model(Entry("n"))))["permission"][0]["id"]


def test_a_renamed_model_has_the_providers_id_as_root() -> None:
    made = msgspec.json.decode(model_object(model(Entry("own", root="own", parent="base"), public="p/own")))

    assert (made["id"], made["root"], made["parent"]) == ("p/own", "own", "base")


def test_extra_fields_follow_the_standard_fields_unchanged() -> None:
    extra = {"context_length": 32768, "pricing": {"prompt": "0.000001"}, "名": ["é", None, 1.5, True]}
    made = msgspec.json.decode(model_object(model(entry({**AIHUBMIX, **extra}))))

    assert list(made)[7:] == ["context_length", "pricing", "名"]
    assert {name: made[name] for name in extra} == extra


def test_created_is_that_of_the_model_not_of_its_first_offer() -> None:
    made = msgspec.json.decode(model_object(model(entry(AIHUBMIX), created=7)))

    assert (made["created"], made["permission"][0]["created"]) == (7, 7)


@pytest.mark.parametrize("text", ['"', "\\", "测试模型", "🤖", "a/b:c@d %2F", "</script>", "\u2028", "é"])
def test_any_string_is_encoded_as_valid_json(text: str) -> None:
    made = msgspec.json.decode(model_object(model(Entry(text, root=text, parent=text), owner=text)))

    assert [made[name] for name in ("id", "owned_by", "root", "parent")] == [text] * 4


def test_a_list_has_its_models_in_order() -> None:
    models = [model(Entry("a")), model(Entry("b"))]

    assert model_list(Catalog(()).models) == b'{"object":"list","data":[]}'
    assert model_list(models) == b'{"object":"list","data":[%b,%b]}' % (
        model_object(models[0]),
        model_object(models[1]),
    )


def test_versions_are_encoded_byte_for_byte() -> None:
    assert versions_page(7, [b'{"id" : "1"}', b'{ "x":1e2 }']) == (b'{"total":7,"versions":[{"id" : "1"},{ "x":1e2 }]}')
    assert versions_page(0, []) == b'{"total":0,"versions":[]}'
    assert encode({"a": 1}) == b'{"a":1}'


# -- errors --------------------------------------------------------------------------------------------------------

ERRORS = [
    pytest.param(BadRequest("why", param="limit"), 400, "invalid_request_error", "invalid_request", id="malformed"),
    pytest.param(InvalidKey(), 401, "invalid_request_error", "invalid_api_key", id="missing or invalid key"),
    pytest.param(
        WebsocketNotSupported(), 426, "invalid_request_error", "websocket_not_supported", id="a websocket for calls"
    ),
    pytest.param(Forbidden("why"), 403, "permission_error", "insufficient_permissions", id="forbidden operation"),
    pytest.param(ModelNotFound("m"), 404, "invalid_request_error", "model_not_found", id="unknown or forbidden model"),
    pytest.param(
        VersionsNotFound(), 404, "invalid_request_error", "model_not_found", id="unknown or forbidden versions"
    ),
    pytest.param(
        ResponseNotFound("resp_1"),
        404,
        "invalid_request_error",
        "response_not_found",
        id="unknown or another's response",
    ),
    pytest.param(PathNotFound("/x"), 404, "invalid_request_error", "not_found", id="unknown path"),
    pytest.param(
        MethodNotAllowed("POST", "GET, HEAD"), 405, "invalid_request_error", "method_not_allowed", id="method"
    ),
    pytest.param(UpstreamTimeout("why"), 408, "upstream_error", "timeout", id="upstream timeout"),
    pytest.param(InternalError(), 500, "server_error", "internal_error", id="bug"),
    pytest.param(
        ModelListUnavailable("why", retry_after=1.2), 503, "service_unavailable_error", "no_models_known", id="no list"
    ),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), ERRORS)
def test_every_error_is_encoded_in_the_openai_and_the_pangu_format(
    error: ApiError, status: int, kind: str, code: str
) -> None:
    assert error.status == status
    assert msgspec.json.decode(openai_error(error)) == {
        "error": {"message": error.message, "type": kind, "param": error.param, "code": code}
    }
    assert msgspec.json.decode(pangu_error(error)) == {
        "error_code": f"PROXY.0{status}",
        "error_msg": error.message,
        "solution_msg": error.hint,
    }
    assert error.message.endswith((".", "why"))
    assert error.hint.endswith(".")


def test_an_error_within_a_stream_of_responses_is_an_event_of_that_api() -> None:
    event = format_of("/v1/responses").error_event(UpstreamTimeout("Too late."), 7)
    name, data = event.split(b"\n", 1)
    fields = {"message": "Too late.", "param": None, "code": "timeout", "status": 408}

    assert name == b"event: error"
    assert msgspec.json.decode(data.removeprefix(b"data: ")) == {
        "type": "error",
        **fields,
        "sequence_number": 7,
        "error": {**fields, "type": UpstreamTimeout.type},
    }
    assert ResponseErrorEvent.model_validate_json(data.removeprefix(b"data: ")).sequence_number == 7
    assert format_of("/v1/chat/completions").error_event(UpstreamTimeout("x"), 7).startswith(b'data: {"error":{')
