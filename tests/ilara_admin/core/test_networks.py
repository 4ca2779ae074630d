"""Networks of keys: what is written, and which addresses are in them."""

import pytest

from ilara_admin.core.networks import is_within, network_text, parse_network


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7/32", "203.0.113.7"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::1", "::1"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_network__has_one_spelling(text: str, stored: str) -> None:
    assert network_text(parse_network(text)) == stored
    assert parse_network(stored) == parse_network(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.300", "“10.0.0.300” is no address or network; write one like 203.0.113.7"),
        ("10.0.0.0/33", "is no address or network"),
        ("localhost", "is no address or network"),
        ("", "is no address or network"),
        ("010.0.0.1", "is no address or network"),
        ("10.1.2.3/8", "did you mean 10.0.0.0/8?"),
        ("2001:db8::1/32", "did you mean 2001:db8::/32?"),
        ("fe80::1%eth0", "has a zone after %"),
    ],
)
def test_wrong_network__is_refused_with_the_fix(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="“") as refused:
        parse_network(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.255.0.1", True),
        ("::ffff:10.1.1.1", True),  # as a server that listens on IPv6 sees IPv4
        ("11.0.0.1", False),
        ("2001:db8:ffff::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("", False),  # a request through a Unix socket
        ("unknown", False),
    ],
)
def test_address__is_in_a_network(address: str, inside: bool) -> None:
    networks = [parse_network(text) for text in ("10.0.0.0/8", "2001:db8::/32", "fe80::/10")]
    assert is_within(address, networks) is inside


def test_every_ipv6_address__is_no_ipv4_address() -> None:
    assert not is_within("10.0.0.1", [parse_network("::/0")])
