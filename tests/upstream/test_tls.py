"""TLS contexts are created for providers that use TLS, once for each CA file."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from proxy.config import Provider
from proxy.upstream.tls import context_of
from tests.fakes import config_of


def provider_with(settings: str) -> Provider:
    (provider,) = config_of(f"providers: [{{name: a, {settings}}}]").providers
    return provider


OAUTH = "oauth: {id: me, secret: canary, url: "


@pytest.mark.parametrize(
    ("settings", "loads"),
    [
        pytest.param("base_url: http://h", False, id="only HTTP"),
        pytest.param("kind: static, models: [{id: m}]", False, id="no URL"),
        pytest.param(f"base_url: http://h, proxy: http://p, {OAUTH}http://l}}", False, id="everything over HTTP"),
        pytest.param("base_url: https://h", True, id="lists over TLS"),
        pytest.param("base_url: HTTPS://h", True, id="a scheme in capital letters"),
        pytest.param("base_url: http://h, call: {base_url: https://c}", True, id="calls over TLS"),
        pytest.param("base_url: http://h, proxy: https://p", True, id="an egress proxy with TLS"),
        pytest.param(f"base_url: http://h, {OAUTH}https://l}}", True, id="a login over TLS"),
    ],
)
def test_authorities_are_loaded_only_for_a_provider_that_uses_tls(settings: str, loads: bool) -> None:
    assert bool(context_of(provider_with(settings)).get_ca_certs()) == loads


def test_a_context_is_shared_by_all_providers_with_the_same_ca_file(tmp_path: Path) -> None:
    authority = tmp_path / "corp.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    public = [context_of(provider_with(f"base_url: https://h{n}")) for n in range(3)]
    corporate = [context_of(provider_with(f"base_url: https://c{n}, ca_file: {authority}")) for n in range(2)]
    assert [len(set(public)), len(set(corporate)), len({*public, *corporate})] == [1, 1, 2]


def test_a_certificate_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    provider = provider_with(f"base_url: https://h, ca_file: {file}")
    before = context_of(provider)
    assert context_of(provider) is before
    trustme.CA().cert_pem.write_to_path(file)
    after = context_of(provider)
    assert after.get_ca_certs() != before.get_ca_certs()
