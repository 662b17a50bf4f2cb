"""The query parameters of calls: which are forwarded to the provider."""

from __future__ import annotations

import pytest

from proxy.guards import GUARDED
from proxy.inference.request.query import forwarded_query


@pytest.mark.parametrize(
    "query",
    [
        "beta=true",
        "api-version=preview",
        "thinking=false&include=a&include=b",
        "filter%5Ba%5D=1&filter[b]=2",
        "q=caf%C3%A9+%26+x",
        "flag",
        "alt=sse&$alt=json&prettyPrint=false&$prettyPrint=true",
        "alt=JSON",
    ],
)
def test_parameters_are_forwarded_as_they_were_sent(query: str) -> None:
    assert forwarded_query(query.encode(), is_azure=False) == query


@pytest.mark.parametrize(
    "name",
    [
        *sorted(GUARDED),
        "Model",
        "mod%65l",
        "model%00x",
        "model[]",
        "model.id",
        "+model",
        "judge-model",
        "deployment",
        "provider",
        "plugins",
        "file_id",
        "session-id",
        "key",
        "code",
        "sig",
        "x-api-key",
        "access_token",
        "client_secret",
        "subscription-key",
        "cf-access-jwt-assertion",
        "x-goog-iam-authorization-token",
        "aws_access_key_id",
        "endpoint",
        "x" * 200,
    ],
)
def test_parameters_that_select_something_and_credentials_are_not_forwarded(name: str) -> None:
    assert forwarded_query(f"a=1&{name}=2&b=3".encode(), is_azure=False) == "a=1&b=3"


@pytest.mark.parametrize(
    "parameter",
    [
        "fields=candidates",  # an answer without the tokens that it has used
        "$fields=candidates",
        "%24fields=candidates",
        "Fields=choices",
        "alt=proto",  # a format in which neither the tokens nor the model are found
        "$alt=proto",
        "alt=media",
        "alt=json%3Benum-encoding%3Dint",
        "alt",
        "callback=f",
        "$callback=f",
        "$key=sk-fake",
        "$access_token=fake",
        "$req=%7B%7D",
        "$method=GET",
        "$httpMethod=GET",
        "$httpHeaders=a",
        "$userProject=p",
        "userProject=p",
        "quotaUser=u",
        "$.xgafv=2",
        "cachedContent=c",
        "cached_content=c",
    ],
)
def test_parameters_with_which_googles_apis_answer_otherwise_are_not_forwarded(parameter: str) -> None:
    assert forwarded_query(f"a=1&{parameter}&b=3".encode(), is_azure=False) == "a=1&b=3"


@pytest.mark.parametrize("part", [b"a;model=x", b"a=\xc3\xa9", b"a=1#b", b'a="', b"a=<b>", b""])
def test_parameters_with_other_separators_or_unencoded_characters_are_not_forwarded(part: bytes) -> None:
    assert forwarded_query(b"a=1&%b&b=3" % part, is_azure=False) == "a=1&b=3"


def test_the_api_version_of_an_azure_url_is_not_forwarded() -> None:
    assert forwarded_query(b"api-version=2024-10-21&beta=true", is_azure=True) == "beta=true"
