"""Where the `http` handler may go: rules for URLs and for the addresses that names stand for.

Names are resolved once and every address is judged; the connection goes to a judged address. So a name that
answers differently the next time gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import httpx

from dispatcher.core.outcome import Failed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 8000
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes a whole host a number to many resolvers: 2130706433, 0x7f.1, 0177.0.0.1."""

METADATA_NAMES = frozenset({
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
    "metadata.platformequinix.com",
})  # fmt: skip
METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd20:ce::254"),
    )
)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_PRIVATE = _networks(
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
    *("198.18.0.0/15", "::1/128", "fc00::/7", "fe80::/10"),
)
_NEVER = _networks(
    *("0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Refused(Exception):
    """A request that must not be made; the text says why, without what may be secret in the URL."""


def checked_url(text: str, *, allow_private: bool) -> httpx.URL:
    """Return the URL. Raises Refused when it is none, or names something that must not be asked."""
    if len(text) > LONGEST_URL or _UNFIT.search(text):
        raise Refused(f"the URL is longer than {LONGEST_URL} characters or holds blanks or a backslash")
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused("the URL is not well-formed") from error
    if url.scheme not in {"http", "https"}:
        raise Refused("the URL must begin with http:// or https://")
    if url.userinfo or "@" in re.split(r"[/?#]", text.partition("//")[2], maxsplit=1)[0]:
        raise Refused("the URL must not name a user; put credentials into `headers`")
    if url.port is not None and not 0 < url.port < 65_536:
        raise Refused("the URL's port is not in 1-65535")
    if host.endswith("."):
        raise Refused("the URL's host must not end with a dot")
    literal = _literal(host)
    if literal is None and (not _HOST.fullmatch(host) or len(host) > 253):
        raise Refused("the URL's host is not a name or an address")
    if host in METADATA_NAMES:
        raise Refused(f"{host} is a metadata service of a cloud, never to be asked")
    if literal is not None:
        check_addresses(host, [str(literal)], allow_private=allow_private)
    return url


def check_addresses(host: str, addresses: Iterable[str], *, allow_private: bool) -> None:
    """Judge every address that a host stands for. Raises Refused when one of them must not be asked."""
    for text in addresses:
        try:
            fault = _fault(ipaddress.ip_address(text), allow_private=allow_private)
        except ValueError:
            fault = "cannot be judged"
        if fault is not None:
            shown = host if host == text else f"{host} at {text}"
            raise Refused(f"{shown} must not be asked: the address {fault}")


def is_literal(host: str) -> bool:
    """Return whether a host is an address as such. Raises Refused for an address in disguise."""
    return _literal(host) is not None


def refusal(error: Refused) -> Failed:
    """Return how a run ends whose request must not be made: no other attempt is better."""
    return Failed(str(error), final=True)


def _literal(host: str) -> Address | None:
    """Return the address that a host is, None for a name."""
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as error:
            raise Refused("the URL's host is not a name or an address") from error
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return ipaddress.IPv4Address(host)
    except ValueError as error:
        raise Refused("an address must be written as four decimal numbers, without leading zeros") from error


def _fault(address: Address, *, allow_private: bool) -> str | None:
    if address in METADATA:
        return "is a metadata service of a cloud"
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "has a scope"
        if address.ipv4_mapped is not None:
            return "hides an IPv4 address"
        if address in _NAT64:
            return _fault(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), allow_private=allow_private)
    if any(address in network for network in _PRIVATE):
        return None if allow_private else "is private; DISPATCHER_HTTP_ALLOW_PRIVATE=true allows it"
    if any(address in network for network in _NEVER):
        return "is reserved"
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6:
        return "is reserved"
    return None
