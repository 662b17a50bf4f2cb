"""The address of a client behind reverse proxies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_MAX_HOPS = 32
_MAX_CACHED = 4096


class ClientAddresses:
    """Returns the addresses of clients. `X-Forwarded-For` is used only if a trusted proxy sent it."""

    def __init__(self, trusted: Sequence[str]) -> None:
        """`trusted`: networks of reverse proxies, such as `10.0.0.0/8`."""
        self._trusted = tuple(ip_network(network) for network in trusted)
        self._logged = lru_cache(_MAX_CACHED)(self._find_logged)
        self._verified = lru_cache(_MAX_CACHED)(self._find_verified)

    def of(self, peer: str, forwarded_for: bytes) -> str:
        """The address of a client, for the log. `peer`: of the connection; `forwarded_for`: the header, b"" without."""
        return self._logged(peer, forwarded_for) if self._trusted and forwarded_for else peer

    def verified(self, peer: str, forwarded_for: bytes) -> Address | None:
        """The address of a client, for access rules: no client can choose it. None if it is not known."""
        return self._verified(peer, forwarded_for if self._trusted else b"")

    def _find_logged(self, peer: str, forwarded_for: bytes) -> str:
        return client_address(peer, forwarded_for, self._trusted)

    def _find_verified(self, peer: str, forwarded_for: bytes) -> Address | None:
        return verified_address(peer, forwarded_for, self._trusted)


def client_address(peer: str, forwarded_for: bytes, trusted: Sequence[Network]) -> str:
    """The last address in `peer` and the header, read from its end, that is not that of a trusted proxy.

    Each proxy appends the address from which it got the request, so what is on the left of an untrusted one can be
    written by anyone. A value that is no address ends the search: the proxy that received it is returned. If all are
    trusted, the first one is returned.
    """
    client = peer
    for address in _from_the_end(peer, forwarded_for):
        if address is None:
            break
        client = str(address)
        if not is_in(address, trusted):
            break
    return client


def verified_address(peer: str, forwarded_for: bytes, trusted: Sequence[Network]) -> Address | None:
    """As `client_address`, but never an address that the client may have chosen.

    None if a value that is no address ends the search: the client is not the proxy that received it. If all are
    trusted, that of the connection is returned: a client at a trusted address can write the others.
    """
    for address in _from_the_end(peer, forwarded_for):
        if address is None or not is_in(address, trusted):
            return address
    return address_of(peer)


def _from_the_end(peer: str, forwarded_for: bytes) -> Iterator[Address | None]:
    """The addresses of the connection and in the header, the last one first; None for a value that is no address."""
    yield address_of(peer)
    if forwarded_for:
        for hop in reversed(forwarded_for.decode("latin-1").rsplit(",", _MAX_HOPS)):
            yield address_of(hop.strip())


def address_of(text: str) -> Address | None:
    """An IP address, also with a port (`192.0.2.1:443`, `[2001:db8::1]:443`); None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
