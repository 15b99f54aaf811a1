"""The pool of Hugging Face ids in a folder of catalogues, and the models that a source lists there.

Ids are gathered without the rows they stood in: what the pool knows is that a repository exists, never whose it is.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import pathlib
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LINK = re.compile(r"https?://(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")
_NOT_MODELS = ("datasets/", "spaces/", "docs/", "blog/", "papers/", "collections/", "api/")


@dataclass(frozen=True)
class Listed:
    """A model as its source lists it."""

    name: str
    also: tuple[str, ...] = ()
    """Its display names."""
    labelled: bool = False
    """Whether the source itself names a repository for it; which one is not kept."""


def hugging_face_ids(folder: pathlib.Path, *, sellers: bool = False) -> list[str]:
    """All ids that the folder's files give for repositories. `sellers`: also what models.dev lists as sold there."""
    found: set[str] = set()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("gold"):
            continue  # Answers are no catalogue.
        if _kind(path) == ".csv":
            found.update(_of_rows(_rows(path)))
        elif _kind(path) == ".json":
            found.update(_of_value(_json(path)))
        elif sellers and _kind(path) in (".sqlite", ".db"):
            found.update(_sold(path))
    return sorted({one for one in found if _ID.fullmatch(one) and not one.startswith(_NOT_MODELS)})


def listed_by(source: str, folder: pathlib.Path) -> dict[str, Listed]:
    """The models that a source's own files list, by name; empty where none can be told."""
    found: dict[str, Listed] = {}
    for path in sorted(folder.glob(f"{source}*")):
        if _kind(path) != ".json":
            continue
        document = _json(path)
        rows = document.get("data", []) if isinstance(document, dict) else document
        for row in rows if isinstance(rows, list) else []:
            name = row.get("id") if isinstance(row, dict) else None
            if name:
                also = (str(row["name"]),) if row.get("name") else ()
                found[str(name)] = Listed(str(name), also, bool(row.get("hugging_face_id")))
    return found


class CatalogError(Exception):
    """A file of the folder that cannot be read as what it is called."""


def _kind(path: pathlib.Path) -> str:
    return pathlib.PurePath(path.name.removesuffix(".gz")).suffix


def _bytes(path: pathlib.Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


def _text(path: pathlib.Path) -> str:
    try:
        return _bytes(path).decode("utf-8-sig")
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: it cannot be read: {error}") from None


def _json(path: pathlib.Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise CatalogError(f"{path}: it is no JSON: {error}") from None


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(path))))


def _of_rows(rows: list[dict[str, str]]) -> Iterator[str]:
    columns = set(rows[0]) if rows else set()
    # The leaderboard of Hugging Face's own calls its repositories model_name.
    named = {"hugging_face_id"} | ({"model_name"} if "metadata_hub_license" in columns else set())
    for row in rows:
        for column, value in row.items():
            if column in named:
                yield value
            elif value and "://" in value:
                yield from _LINK.findall(value)


def _of_value(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _of_value(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _of_value(part, key)
    elif isinstance(value, str):
        if key == "hugging_face_id":
            yield value
        elif key != "description" and (link := _LINK.fullmatch(value.rstrip("/"))):
            yield link[1]


def _sold(path: pathlib.Path) -> list[str]:
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as file:
        file.write(_bytes(path))
        file.flush()
        connection = sqlite3.connect(file.name)
        try:
            return [row[0] for row in connection.execute("SELECT id FROM models WHERE provider_id = 'huggingface'")]
        finally:
            connection.close()
