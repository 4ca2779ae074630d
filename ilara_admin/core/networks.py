"""Networks of IP addresses, such as 10.0.0.0/8. Imports no Django."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

type Network = IPv4Network | IPv6Network

MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4 addresses as IPv6 ones


def parse_network(text: str) -> Network:
    """A network, or an address as a network of one. IPv4 mapped to IPv6 becomes IPv4.

    Raises ValueError with a sentence that says what to write instead.
    """
    if "%" in text:
        raise ValueError(f"“{text}” has a zone after %; write the address without it.")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"“{text}” is no address or network; write one like 203.0.113.7, 10.0.0.0/8 or "
            "2001:db8::/32."
        ) from None
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"“{text}” is an address within a network; did you mean {network}?")
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        start = network.network_address.ipv4_mapped
        return IPv4Network((str(start), network.prefixlen - MAPPED.prefixlen))
    return network


def network_text(network: Network) -> str:
    """A network of one address as the address."""
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks; false for what is no IP address."""
    try:
        found = _unmapped(ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    return any(found in network for network in networks)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
