"""Models of the API between the wire and what is kept: a document as a file would have it under `models:`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dac.router.v1 import entry_pb2
from mesh.catalog import ModelEntry
from mesh.config import ConfigError
from mesh.errors import invalid
from mesh.model_entries import parse_entry
from mesh.model_prices import BUCKETS, nano_usd, parse_moment
from services.router.entries.store import KeptRow
from services.router.policies.store import VersionRow

MOST_DOCUMENT_BYTES = 65_536
_PLAIN = (
    *("provider", "name", "context_tokens", "max_output_tokens", "speed_tokens_per_s", "first_token_ms", "sticky"),
    "retires_on",
)
"""Fields that are called the same in messages and files, and say nothing where they are empty."""
_LISTS = ("capabilities", "fallbacks", "aliases")


def document_of(message: entry_pb2.ModelEntry) -> tuple[ModelEntry, str]:
    """What a message says, checked but for what stands beside it, and as it is kept. Raises INVALID_REQUEST."""
    try:
        said = _said(message)
        entry = parse_entry(said, "entry")
    except ConfigError as error:
        raise invalid("entry", error.message) from None
    document = msgspec.json.encode(said, order="deterministic").decode()
    if len(document) > MOST_DOCUMENT_BYTES:
        raise invalid("entry", f"The model has {len(document)} bytes; at most {MOST_DOCUMENT_BYTES} are kept.")
    return entry, document


def _said(message: entry_pb2.ModelEntry) -> dict[str, Any]:
    said: dict[str, Any] = {"id": message.model}
    said |= {name: value for name in _PLAIN if (value := getattr(message, name))}
    said |= {name: list(value) for name in _LISTS if (value := getattr(message, name))}
    if message.HasField("quality"):
        said["quality"] = message.quality
    if message.model_class:
        said["class"] = message.model_class
    if message.identities:
        said["identities"] = dict(message.identities)
    if message.prices:
        said["price"] = _price(message.prices, "entry.prices")
    if message.deployments:
        said["deployments"] = [
            _deployment(one, f"entry.deployments[{index}]") for index, one in enumerate(message.deployments)
        ]
    return said


def _deployment(message: entry_pb2.EntryDeployment, where: str) -> dict[str, Any]:
    said = {name: value for name in ("provider", "name", "weight", "priority") if (value := getattr(message, name))}
    if message.prices:
        said["price"] = _price(message.prices, f"{where}.prices")
    return said


def _price(messages: Iterable[entry_pb2.EntryPrice], where: str) -> list[dict[str, Any]]:
    return [_one_price(one, f"{where}[{index}]", first=not index) for index, one in enumerate(messages)]


def _one_price(message: entry_pb2.EntryPrice, where: str, *, first: bool) -> dict[str, Any]:
    if bool(message.nano_usd_per_mtok) + bool(message.usd_per_mtok) + message.free != 1:
        raise ConfigError(f"{where}: say one of nano_usd_per_mtok, usd_per_mtok and free")
    if message.HasField("valid_from") == first:
        raise ConfigError(f"{where}.valid_from: the first price counts from now on, those after it say from when")
    begins = {} if first else {"from": parse_moment(message.valid_from.ToDatetime(), f"{where}.valid_from").isoformat()}
    if message.free:
        return {"free": True, **begins}
    buckets = {name: nano_usd(amount, f"{where}.{name}") for name, amount in message.usd_per_mtok.items()}
    return {BUCKETS: buckets or dict(message.nano_usd_per_mtok), **begins}


def decoded(document: str) -> Mapping[str, Any]:
    """What was kept, as a file would have it."""
    said: Mapping[str, Any] = msgspec.json.decode(document)
    return said


def entry_message(document: str) -> entry_pb2.ModelEntry:
    """What was kept, as a message; what this program does not know is left out."""
    said = decoded(document)
    message = entry_pb2.ModelEntry(
        model=said["id"],
        quality=said.get("quality"),
        model_class=said.get("class", ""),
        identities=said.get("identities"),
        **{name: said[name] for name in (*_PLAIN, *_LISTS) if name in said},
    )
    message.prices.extend(_price_messages(said.get("price", ())))
    for one in said.get("deployments", ()):
        made = message.deployments.add(
            **{name: one[name] for name in ("provider", "name", "weight", "priority") if name in one}
        )
        made.prices.extend(_price_messages(one.get("price", ())))
    return message


def _price_messages(said: Iterable[Mapping[str, Any]]) -> Iterable[entry_pb2.EntryPrice]:
    for one in said:
        made = entry_pb2.EntryPrice(nano_usd_per_mtok=one.get(BUCKETS), free=one.get("free", False))
        if "from" in one:
            made.valid_from.FromJsonString(one["from"])
        yield made


def kept_message(row: KeptRow) -> entry_pb2.KeptModel:
    """A model as it stands."""
    made = entry_pb2.KeptModel(entry=entry_message(row.document), version=row.version, etag=row.etag)
    made.created_at.FromDatetime(row.created_at)
    made.changed_at.FromDatetime(row.changed_at)
    return made


def version_message(row: VersionRow) -> entry_pb2.ModelVersion:
    """A state that a model was in."""
    made = entry_pb2.ModelVersion(version=row.version, action=row.action, actor=row.actor)
    if row.document:
        made.entry.CopyFrom(entry_message(row.document))
    made.at.FromDatetime(row.at)
    return made
