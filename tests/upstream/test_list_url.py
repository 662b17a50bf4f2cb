"""The URL of a provider's list, as it is shown to operators."""

from __future__ import annotations

import pytest

from proxy.config import parse
from proxy.upstream.list_url import list_url

KEY = "sk-canary-0123456789"


def url_of(settings: str) -> str:
    (provider,) = parse(f"providers: [{{name: a, {settings}}}]").providers
    return list_url(provider)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        pytest.param('base_url: "https://api.example.com/v1/"', "https://api.example.com/v1/models", id="openai"),
        pytest.param(
            'kind: azure, base_url: "https://example.com:8443"', "https://example.com:8443/openai/models", id="no query"
        ),
        pytest.param(
            'kind: pangu, base_url: "http://pangu/v1", workspace_id: "w/1", model_ids: [nlp]',
            "http://pangu/v1/workspaces/w%2F1/models/nlp/versions",
            id="settings are percent-encoded",
        ),
        pytest.param(
            'kind: pangu, base_url: "http://pangu/v1", workspace_id: w, model_ids: [a, b]',
            "http://pangu/v1/workspaces/w/models/{model_id}/versions",
            id="several lists",
        ),
    ],
)
def test_the_url_is_that_of_the_first_page_without_the_query(settings: str, url: str) -> None:
    assert url_of(settings) == url


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        pytest.param(f"https://{KEY}.example.com", "https://***.example.com/v1/models", id="the key in the host"),
        pytest.param(f"https://example.com/{KEY}/v1", "https://example.com/***/v1/models", id="the key in the path"),
        pytest.param(
            "https://example.com/t/0a1b2c3d4e5f60718293/v1", "https://example.com/t/***/v1/models", id="a random word"
        ),
    ],
)
def test_secrets_in_the_url_are_redacted(base_url: str, url: str) -> None:
    assert url_of(f'base_url: "{base_url}", api_key: {KEY}') == url


def test_a_short_key_that_is_part_of_the_host_name_is_not_redacted() -> None:
    assert url_of('base_url: "http://ollama:11434/v1", api_key: ollama') == "http://ollama:11434/v1/models"
