"""Addresses of clients behind reverse proxies."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.addresses import ClientAddresses, client_address, verified_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.9", b"203.0.113.7", "192.0.2.9"),  # not a trusted proxy
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first was sent by the client
        ("10.0.0.1", b"198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all are trusted
        ("10.0.0.1", b"203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", b"[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", b"2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", b"203.0.113.7", "203.0.113.7"),
        ("fd00::1%eth0", b"203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", b"203.0.113.7, unknown", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", b"\xff\x00, 1.2.3", "10.0.0.1"),
        ("10.0.0.1", b",,,", "10.0.0.1"),
        ("", b"203.0.113.7", ""),
        ("/run/proxy.sock", b"203.0.113.7", "/run/proxy.sock"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(peer: str, forwarded_for: bytes, client: str) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == client


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.9", b"203.0.113.7", "192.0.2.9"),  # not a trusted proxy
        ("::ffff:192.0.2.9", b"", "192.0.2.9"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.7:4711, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", b"unknown, 203.0.113.7", "203.0.113.7"),
        # All are trusted: any of them but that of the connection may have been written by a client at another one.
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.1"),
        ("::ffff:10.0.0.1", b"fd00::5", "10.0.0.1"),
        # The client has an address, but its proxy did not write it.
        ("10.0.0.1", b"203.0.113.7, unknown", None),
        ("10.0.0.1", b"203.0.113.7, _hidden, 10.0.0.2", None),
        ("10.0.0.1", b'203.0.113.7, "10.0.0.9"', None),
        ("10.0.0.1", b"203.0.113.7,", None),
        ("10.0.0.1", b"10.0.0.4," * 40 + b"10.0.0.2", None),  # too long to be read to its beginning
        ("", b"203.0.113.7", None),
        ("/run/proxy.sock", b"203.0.113.7", None),
    ],
)
def test_access_depends_on_an_address_only_if_no_client_can_have_chosen_it(
    peer: str, forwarded_for: bytes, client: str | None
) -> None:
    address = verified_address(peer, forwarded_for, PROXIES)

    assert (address and str(address)) == client


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    addresses = ClientAddresses([])

    assert addresses.of("10.0.0.1", b"203.0.113.7") == "10.0.0.1"
    assert addresses.verified("10.0.0.1", b"203.0.113.7") == ip_address("10.0.0.1")


def test_networks_and_single_addresses_are_trusted() -> None:
    addresses = ClientAddresses(["10.0.0.0/8", "192.0.2.9/32"])

    assert addresses.of("192.0.2.9", b"203.0.113.7, 10.1.1.1") == "203.0.113.7"
    assert addresses.verified("192.0.2.9", b"203.0.113.7, 10.1.1.1") == ip_address("203.0.113.7")


addresses = st.ip_addresses().map(str)
texts = st.one_of(addresses, st.text(max_size=20), st.just("10.0.0.2"))


def is_trusted(address: str) -> bool:
    return any(ip_address(address) in network for network in PROXIES)


@given(st.one_of(addresses, st.just("10.0.0.1")), st.lists(texts, max_size=5))
def test_the_client_is_an_address_of_the_connection_or_the_header(peer: str, hops: list[str]) -> None:
    header = ",".join(hops).encode("utf-8", "replace")

    ip_address(client_address(peer, header, PROXIES))


@given(addresses, st.lists(st.sampled_from(["10.0.0.2", "10.9.9.9", "fd00::5"]), max_size=4), st.binary(max_size=60))
def test_nothing_that_a_client_sends_changes_its_address(client: str, proxies: list[str], sent: bytes) -> None:
    plain = getattr(ip_address(client), "ipv4_mapped", None) or ip_address(client)
    if is_trusted(str(plain)):
        return
    header = b", ".join([sent, client.encode(), *(proxy.encode() for proxy in proxies)])

    assert client_address("10.0.0.1", header, PROXIES) == str(plain)
    assert verified_address("10.0.0.1", header, PROXIES) == plain


def test_a_very_long_header_is_not_read_to_its_beginning() -> None:
    assert client_address("10.0.0.1", b"203.0.113.7" + b", 10.0.0.2" * 3000, PROXIES) == "10.0.0.2"
