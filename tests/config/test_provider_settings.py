"""The logins of a provider."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from proxy.config.provider_settings import Iam
from tests.config.outcomes import CANARY, rejections


@pytest.mark.parametrize(
    "url",
    ["https://iam", "https://iam/", "https://iam/v3", "https://iam/v3/", "https://iam/v3/auth/tokens", "https://iam/v3/auth/tokens/"],
)  # fmt: skip
def test_iam_url_can_include_its_path(url: str) -> None:
    iam = Iam(url=url, domain="d", user="u", password=SecretStr(CANARY), project="p")
    assert iam.url == "https://iam"


def test_password_of_a_login_must_not_be_empty() -> None:
    assert len(rejections(Iam, url="https://iam", domain="d", user="u", password="", project="p")) == 1


@pytest.mark.parametrize("field", ["url", "domain", "user", "project"])
def test_login_requires_all_settings(field: str) -> None:
    whole: dict[str, object] = {"url": "https://iam", "domain": "d", "user": "u", "password": CANARY, "project": "p"}
    assert rejections(Iam, **whole) == []
    assert len(rejections(Iam, **{**whole, field: ""})) == 1
    assert len(rejections(Iam, **{name: value for name, value in whole.items() if name != field})) == 1
