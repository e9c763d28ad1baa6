# SPDX-License-Identifier: GPL-3.0-or-later
"""Which client is asking: the peer, or whom a proxy we trust says it is."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_MOST_HOPS = 16
_V6_PREFIX = 64  # what one customer of a provider has at least


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the client's address; of IPv6 the network.

    `forwarded` are the X-Forwarded-For headers. Each proxy writes its own peer at the end, so they are read from there,
    and only as long as the writer is one of the `trusted`: what stands further left is the client's own invention.
    """
    address = _parse(peer)
    if address is None:
        return peer
    hops = [hop for value in forwarded for hop in value.split(",")][-_MOST_HOPS:]
    while hops and any(address in network for network in trusted):
        nearer = _parse(hops.pop().strip())
        if nearer is None:
            break
        address = nearer
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _V6_PREFIX), strict=False))
    return str(address)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
