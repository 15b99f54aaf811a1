"""Hostile base URLs: none may lead to a private place."""

import ipaddress
import socket
from typing import Any

import pytest

from mesh.errors import MeshError
from services.provider.addresses import PublicResolver, allowed, check_base_url

HOSTILE_ADDRESSES = """0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254
169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.192 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1
192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255 168.63.129.16 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8
64:ff9b::a9fe:a9fe 64:ff9b::7f00:1 64:ff9b:1::1 64:ff9b:1::808:808 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe:: 2002:a00:1:: 2620:4f:8000::1 3fff::1 5f00::1 fc00::1
fd00:ec2::254 fd12:3456::1 fe80::1 fec0::1 feff::1 ff02::1 ff05::2 4000::1""".split()  # noqa: SIM905
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"]
HOSTILE_URLS = [
    "http://api.openai.com/v1",
    "HTTP://api.openai.com",
    "ftp://example.com",
    "file:///etc/passwd",
    "gopher://example.com",
    "//example.com",
    "example.com",
    "",
    "https://",
    "https:///v1",
    "https://:443/v1",
    "https://user@example.com",
    "https://user:pass@example.com",
    "https://api.openai.com@127.0.0.1/",
    "https://127.0.0.1#@example.com",
    "https://example.com?x=1",
    "https://example.com/#f",
    "https://example.com/v1?",
    "https://exa mple.com",
    "https://example.com\r\nHost: x",
    "https://example.com\t",
    "https://example.com\\@127.0.0.1",
    "https://127.0.0.1%2f@example.com",
    "https://%31%32%37.0.0.1",
    "https://localhost",
    "https://LOCALHOST:8443",
    "https://localhost.",
    "https://a.localhost",
    "https://printer.local",
    "https://metadata.google.internal",
    "https://box.localdomain",
    "https://example.com:0",
    "https://example.com:99999",
    "https://example.com:x",
    "https://[::1",
    "https://[fe80::1%25eth0]",
    "https://[::ffff:7f00:1]",
]
ODD_NAMES = [
    "0x7f.1",
    "2130706433",
    "127.1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "0x7f000001",
    "rebind.example",
]


@pytest.mark.parametrize("text", HOSTILE_ADDRESSES)
def test_hostile_addresses(text: str) -> None:
    assert not allowed(ipaddress.ip_address(text))
    with pytest.raises(MeshError):
        check_base_url(f"https://[{text}]/v1" if ":" in text else f"https://{text}/v1")


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert allowed(ipaddress.ip_address(text))


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_hostile_urls(url: str) -> None:
    with pytest.raises(MeshError) as caught:
        check_base_url(url)
    assert "user:pass" not in caught.value.message


@pytest.mark.parametrize("url", ["https://api.openai.com/v1/", "https://example.com:8443/a/b", "https://8.8.8.8"])
def test_good_urls(url: str) -> None:
    assert check_base_url(url) == url.rstrip("/")


def found(*hosts: str) -> PublicResolver:
    async def resolve(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        return [
            {"hostname": host, "host": one, "port": port, "family": family, "proto": 0, "flags": 0} for one in hosts
        ]

    return PublicResolver(resolve)


@pytest.mark.parametrize("hosts", [("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("::ffff:10.0.0.1",), ("fe80::1%1",), ()])
async def test_a_name_with_one_hostile_address_is_refused(hosts: tuple[str, ...]) -> None:
    with pytest.raises(OSError):
        await found(*hosts).resolve("rebind.example", 443)


async def test_a_public_name_is_resolved() -> None:
    assert len(await found("8.8.8.8", "1.1.1.1").resolve("example.com", 443)) == 2


@pytest.mark.parametrize("name", ODD_NAMES[:-1])
async def test_odd_spellings_of_loopback_are_refused_by_the_real_resolver(name: str) -> None:
    with pytest.raises(OSError):
        await PublicResolver().resolve(name, 443)
