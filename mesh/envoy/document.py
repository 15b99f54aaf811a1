"""The pieces every Envoy document is made of: typed extensions, addresses, durations, and YAML without anchors."""

import dataclasses
import ipaddress
import re
from typing import Any

import yaml

from mesh.config import ConfigError

TYPE = "type.googleapis.com/envoy."
Document = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A host and a port."""

    host: str
    """A DNS name or an IP address; in Helm's files an expression."""
    port: int

    @property
    def is_ip(self) -> bool:
        """Whether no name has to be resolved."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def address(self) -> Document:
        """As Envoy writes it."""
        return {"socket_address": {"address": self.host, "port_value": self.port}}


def parse_endpoint(text: str, flag: str, *, port: int | None = None, ip_only: bool = False) -> Endpoint:
    """HOST:PORT, or HOST where `port` is the default. Raises ConfigError naming the flag."""
    form = "HOST:PORT" if port is None else "HOST or HOST:PORT"
    digits: str | None = None
    host = text
    if text.startswith("[") and "]" in text:
        host, _, rest = text[1:].partition("]")
        digits = rest.removeprefix(":") if rest else None
    elif text.count(":") == 1:
        host, digits = text.split(":")
    if digits is None and port is None:
        raise ConfigError(f'{flag}: "{text}" has no port: write {form}')
    found = port if digits is None and port is not None else parse_port(digits or "", flag)
    made = Endpoint(host, found)
    if ip_only and not made.is_ip:
        raise ConfigError(f'{flag}: "{host}" is no IP address: write e.g. 0.0.0.0:8443')
    if not made.is_ip and (not _NAME.fullmatch(host) or re.fullmatch(r"[\d.]+", host)):
        raise ConfigError(f'{flag}: "{host}" is no host name and no IP address: write {form}')
    return made


def parse_port(text: str, flag: str) -> int:
    """A port number. Raises ConfigError naming the flag."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
        raise ConfigError(f'{flag}: "{text}" is no port: write a number from 1 to 65535')
    return int(text)


def typed(kind: str, **fields: Any) -> Document:
    """An extension's configuration with its type."""
    return {"@type": TYPE + kind, **fields}


def extension(name: str, kind: str, **fields: Any) -> Document:
    """A named extension with its configuration."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def seconds(value: float) -> str:
    """A duration as protobuf's JSON writes it."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


class _Dumper(yaml.SafeDumper):
    """SafeDumper that writes shared parts out, so that every part can be read where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def to_yaml(document: Document, heading: str) -> str:
    """The document as YAML below a comment of one or more lines."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return comment + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
