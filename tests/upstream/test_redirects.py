"""Which redirects lead to the same path with or without a slash at its end."""

from __future__ import annotations

import pytest

from proxy.upstream.redirects import path_with_or_without_slash

URL = "https://models.example/v1/models"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/v1/models/", "/v1/models/"),
        ("models/?page=1", "/v1/models/"),
        ("//models.example/v1/models/", "/v1/models/"),
        ("https://MODELS.example:443/v1/models/", "/v1/models/"),
        ("https://user:pass@models.example/v1/models/", "/v1/models/"),
        # Behind a TLS terminator; the request is repeated with TLS.
        ("http://models.example/v1/models/", "/v1/models/"),
        ("http://models.example:80/v1/models/", "/v1/models/"),
        ("http://models.example:8000/v1/models/", None),
        ("https://models.example:8443/v1/models/", None),
        ("https://other.example/v1/models/", None),
        ("https://models.example.evil/v1/models/", None),
        ("ftp://models.example/v1/models/", None),
        ("/v1/models", None),
        ("/v1/models//", None),
        ("/v1/models/x", None),
        ("/v1/", None),
        ("", None),
        ("https://[nowhere/", None),
    ],
)
def test_only_a_slash_at_the_end_of_the_same_path_is_followed(location: str, path: str | None) -> None:
    assert path_with_or_without_slash(307, location, URL) == path


@pytest.mark.parametrize(("status", "is_followed"), [(200, False), (300, False), (301, True), (302, True),
                                                     (303, False), (304, False), (307, True), (308, True)])  # fmt: skip
def test_only_redirects_that_repeat_the_request_are_followed(status: int, is_followed: bool) -> None:
    assert (path_with_or_without_slash(status, "/v1/models/", URL) is not None) is is_followed


def test_slash_can_be_removed() -> None:
    assert path_with_or_without_slash(301, "/v1/models", URL + "/") == "/v1/models"


def test_redirect_to_http_is_not_followed_to_https() -> None:
    assert path_with_or_without_slash(301, "https://h.example/v1/models/", "http://h.example/v1/models") is None
