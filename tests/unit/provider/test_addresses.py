"""Hostile base URLs: none may lead to a private place."""

import ipaddress
import socket
from typing import Any

import pytest

from mesh.errors import MeshError
from mesh.public_addresses import allowed
from mesh.public_resolver import PublicResolver
from services.provider.addresses import check_base_url
from tests.hostile_urls import DECEIVING_URLS, EMBEDDED, HOSTILE_ADDRESSES, HOSTILE_URLS

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"]
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


def test_there_are_more_than_two_hundred() -> None:
    told = {*HOSTILE_URLS, *DECEIVING_URLS}
    assert len(told) == len(HOSTILE_URLS) + len(DECEIVING_URLS) - len({*HOSTILE_URLS} & {*DECEIVING_URLS}) >= 250


@pytest.mark.parametrize("url", DECEIVING_URLS, ids=ascii)
def test_deceiving_urls(url: str) -> None:
    with pytest.raises(MeshError):
        check_base_url(url)


@pytest.mark.parametrize("text", [*HOSTILE_ADDRESSES, *EMBEDDED])
async def test_a_name_of_a_hostile_address_is_not_connected_to(text: str) -> None:
    for hosts in ((text,), ("8.8.8.8", text), (text, "8.8.8.8")):
        with pytest.raises(OSError):
            await found(*hosts).resolve("rebind.example", 443)


GOOD = [
    "https://api.openai.com/v1/",
    "https://example.com:8443/a/b",
    "https://8.8.8.8",
    "https://[2606:4700::1111]/v1",
    "https://xn--bcher-kva.example.com/v1",
    "https://api.example.com:443",
    "https://API.Example.com",
    "https://my_resource.openai.azure.com/openai/v1",
    "https://api.example.com./v1",
    "https://1a.example.com",
    "https://0x.example.com",
    "https://corp.example.com",
]


@pytest.mark.parametrize("url", GOOD)
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
