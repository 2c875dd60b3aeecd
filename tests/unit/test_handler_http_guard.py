"""Where the `http` handler may go: a table of ways to say a private address, none of which works."""

from __future__ import annotations

import pytest

from dispatcher.work.handlers.http_guard import Refused, check_addresses, checked_url, is_literal

ALWAYS_REFUSED = [
    *("http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0x7f.1/", "http://127.1/"),
    *("http://0177.0.0.1/", "http://017700000001/", "http://127.0.0.1./", "http://0/", "http://0.0.0.0/"),
    *("http://127.0.0.0x1/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://127%2e0.0.1/", "http://1.0x/"),
    *("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:8.8.8.8]/"),
    *(
        "http://[0:0:0:0:0:ffff:7f00:0001]/",
        "http://[::127.0.0.1]/",
        "http://[::]/",
        "http://[fe80::1%25lo]/",
    ),
    *("http://[64:ff9b::169.254.169.254]/", "http://[2002:7f00:1::]/", "http://[2001:0:1::]/"),
    *("http://user@example.com/", "http://user:pw@example.com/", "http://@example.com/"),
    *("http://example.com@127.0.0.1/", "http://127.0.0.1@example.com/", "http://example.com\\@127.0.0.1/"),
    *("http://example.com./", "http://localhost./", "http://.example.com/", "http://-/", "http://a%00b/"),
    *(
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://exa mple.com/",
        "http://example.com/\r\nX: y",
    ),
    *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200/"),
    *("http://168.63.129.16/", "http://metadata.google.internal/", "http://METADATA.google.internal/"),
    *("http://metadata/", "http://instance-data/", "http://169.254.170.2/", "http://224.0.0.1/"),
    *("http://[ff02::1]/", "http://255.255.255.255/", "http://240.0.0.1/", "http://192.0.2.1/"),
    *("ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/", "example.com"),
    *("http://", "http:///path", "http://example.com:99999/", "http://example.com:0/", "http://[::1/", ""),
    *(
        "http://example.com:port/",
        "javascript:alert(1)",
        "http://" + "a" * 300 + "/",
        "http://x/" + "y" * 9000,
    ),
]
PRIVATE = [
    *("http://127.0.0.1/", "http://127.255.255.254/", "http://10.0.0.1/", "http://172.16.0.1:8080/"),
    *("http://172.31.255.255/", "http://192.168.1.1/", "http://169.254.1.1/", "http://100.64.0.1/"),
    *("http://100.127.255.255/", "http://198.18.0.1/", "http://[::1]/", "http://[fd12::1]/"),
    *("http://[fc00::1]/", "http://[fe80::1]/", "http://127。0。0。1/", "http://[64:ff9b::10.0.0.1]/"),
]
PUBLIC = [
    *("http://example.com/", "https://example.com:8443/a?b=c#d", "http://8.8.8.8/", "http://172.32.0.1/"),
    *("http://100.63.255.255/", "http://[2606:4700::1111]/", "http://[64:ff9b::8.8.8.8]/"),
    *("http://my_service/", "http://a-b.c/", "http://münchen.de/", "HTTP://EXAMPLE.COM/", "http://1a.b2/"),
]


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("url", ALWAYS_REFUSED, ids=lambda url: repr(url)[:50])
def test_a_url_in_disguise_is_refused_even_where_private_ones_are_allowed(
    url: str, *, allow_private: bool
) -> None:
    with pytest.raises(Refused):
        checked_url(url, allow_private=allow_private)


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_refused_unless_allowed(url: str) -> None:
    with pytest.raises(Refused, match="DISPATCHER_HTTP_ALLOW_PRIVATE=true"):
        checked_url(url, allow_private=False)
    checked_url(url, allow_private=True)


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_url_is_taken(url: str) -> None:
    checked_url(url, allow_private=False)


def test_every_address_of_a_name_is_judged_not_only_the_first() -> None:
    check_addresses("a.example", ["93.184.216.34", "2606:4700::1111"], allow_private=False)
    for bad in ("127.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "fd00::1", "rubbish", "0.0.0.1"):
        with pytest.raises(Refused, match="must not be asked"):
            check_addresses("a.example", ["93.184.216.34", bad], allow_private=False)


def test_a_refusal_names_host_and_address_but_nothing_else_of_the_url() -> None:
    with pytest.raises(Refused) as refused:
        checked_url("http://10.0.0.1/canary?token=canary", allow_private=False)
    assert "10.0.0.1" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_names_and_addresses_are_told_apart() -> None:
    assert is_literal("10.0.0.1")
    assert is_literal("::1")
    assert not is_literal("example.com")
    with pytest.raises(Refused):
        is_literal("0x7f.1")
