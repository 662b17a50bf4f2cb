"""`server.extra_paths` and `server.default_models`."""

from __future__ import annotations

import pytest

from proxy.config.server import Server
from tests.config.outcomes import PROVIDER, parsed, problems_of, rejections

STORED = "all callers share the objects that a provider stores for its account"
OWN = "the proxy serves these paths itself"


@pytest.mark.parametrize("path", ["/v1/translate", "/v1/audio/isolate", "/v3/parse", "/detokenize", "/v1/x-y_z.1~"])
def test_an_extra_path_is_below_v1_or_has_a_version_of_its_own_or_none(path: str) -> None:
    assert rejections(Server, extra_paths=[path]) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/files", f"must not contain `files`: {STORED}"),
        ("/api/pull", "must not contain `/api/pull`: the proxy does not change the models of a provider"),
        ("/v1/Files/search", f"must not contain `files`: {STORED}"),
        ("/batches", f"must not contain `batches`: {STORED}"),
        ("/v1/messages/batches", f"must not contain `batches`: {STORED}"),
        ("/v1/batch/jobs", f"must not contain `batch`: {STORED}"),
        ("/v1/responses/resp_1/cancel", f"must not contain `responses`: {STORED}"),
        ("/v1/chat/completions/chatcmpl-1", f"must not be below `completions`: {STORED}"),
        ("/v1/conversations", f"must not contain `conversations`: {STORED}"),
        ("/v1/containers", f"must not contain `containers`: {STORED}"),
        ("/v1/vector_stores", f"must not contain `vector_stores`: {STORED}"),
        ("/v1/vector-stores/search", f"must not contain `vector_stores`: {STORED}"),
        ("/v1/assistants", f"must not contain `assistants`: {STORED}"),
        ("/v1/threads/runs", f"must not contain `threads`: {STORED}"),
        ("/v1/uploads", f"must not contain `uploads`: {STORED}"),
        ("/v1/fine_tuning/jobs", f"must not contain `fine_tuning`: {STORED}"),
        ("/v1/fine-tunes", f"must not contain `fine_tunes`: {STORED}"),
        ("/v1/evals", f"must not contain `evals`: {STORED}"),
        ("/v1/skills", f"must not contain `skills`: {STORED}"),
        ("/v1/realtime/sessions", "must not contain `realtime`: calls over WebSocket are not supported"),
        ("/admin/refresh", f"must not contain `admin`: {OWN}"),
        ("/status", f"must not contain `status`: {OWN}"),
        ("/metrics", f"must not contain `metrics`: {OWN}"),
        ("/health", f"must not contain `health`: {OWN}"),
        ("/livez", f"must not contain `livez`: {OWN}"),
        ("/v1/models/load", f"must not contain `models`: {OWN}"),
        ("/openai/deployments/m/translate", f"must not contain `openai`: {OWN}"),
        ("/v1/workspaces", f"must not contain `workspaces`: {OWN}"),
        ("/v1/chat/completions", "is already a path of the proxy; remove it"),
        ("/v1/rerank", "is already a path of the proxy; remove it"),
        ("/rerank", "is already a path of the proxy; remove it"),
        ("/v2/rerank", "is already a path of the proxy; remove it"),
    ],
)
def test_paths_of_stored_objects_and_of_the_proxy_are_no_extra_paths(path: str, message: str) -> None:
    assert rejections(Server, extra_paths=[path]) == [message]


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1", "/v1/", "v1/translate", "/v1//translate", "/v1/translate/", "/v1/../files", "/v1/.x",
     "/v1/fil%65s", "/v1/{model}/translate", "/v1/translate?x=1", "https://a.example/v1/x", "/v1/ａ", "/v1/a\n"],
)  # fmt: skip
def test_an_extra_path_has_plain_segments(path: str) -> None:
    message = "must be a path of letters, digits, `.`, `_`, `~` and `-`, like /v1/translate"
    assert rejections(Server, extra_paths=[path]) == [message]


def test_default_models_are_by_path_of_a_call() -> None:
    server = Server(default_models={"moderations": "m", "/v1/images/edits": "n", "v2/rerank": "r"})
    assert server.default_models == {"moderations": "m", "images/edits": "n", "v2/rerank": "r"}


def test_problems_name_the_line_and_the_value() -> None:
    text = f"server:\n  extra_paths: [/v1/translate, /v1/files]\n  default_models: {{moderation: m}}\n{PROVIDER}"
    assert problems_of(text) == [
        f"config.yaml:2: server.extra_paths[1]: must not contain `files`: {STORED}; found '/v1/files'",
        "config.yaml:3: server.default_models.moderation: invalid name: must be the path of a call without /v1/, like "
        "moderations or images/generations",
    ]


def test_the_settings_are_read() -> None:
    text = f"server: {{extra_paths: [/v1/translate], default_models: {{moderations: m}}}}\n{PROVIDER}"
    server = parsed(text).server
    assert (server.extra_paths, server.default_models) == (("/v1/translate",), {"moderations": "m"})
