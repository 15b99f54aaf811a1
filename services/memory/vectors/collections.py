"""Collections of texts or vectors: what may go into which, and how they are found again."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mesh.errors import MeshError
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import Embedder
from services.memory.errors import invalid
from services.memory.sealing.sealing import OrgKey, Sealer
from services.memory.vectors import vector_errors as errors
from services.memory.vectors.index import VectorIndex
from services.memory.vectors.store import Collection, NewItem, StoredItem, Vectors, VectorStore

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ITEMS_MAX = 1000
TOP_K_DEFAULT, TOP_K_MAX = 10, 1000
PAGE_DEFAULT, PAGE_MAX = 100, 1000
ID_CHARACTERS_MAX = 128
METADATA_BYTES_MAX = 16_384
FILTER_FIELDS_MAX = 32
EXTERNAL = "external"
REINDEX_TRIES = 5
REINDEX_PAGE = 500

Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class Item:
    """An item as a caller gives it; an empty vector = embed the text."""

    item_id: str
    text: str
    vector: Sequence[float]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """An item that was found."""

    item_id: str
    score: float
    text: str
    metadata: Mapping[str, Any]


def check_count(count: int) -> None:
    """Raises INVALID_REQUEST for no items, and for more than are saved at once."""
    if not 1 <= count <= ITEMS_MAX:
        raise invalid("items", f"1 to {ITEMS_MAX}, not {count}")


class VectorCollections:
    """One organisation's collections at a time."""

    def __init__(
        self,
        store: VectorStore,
        index: VectorIndex,
        embedder: Embedder,
        sealer: Sealer,
        config: MemoryConfig,
        *,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._store, self.index, self.embedder, self._sealer = store, index, embedder, sealer
        self._config, self._clock, self._new_id = config, clock, new_id

    def takes_text(self, collection: Collection) -> bool:
        """Whether texts can be added and searched for as DAC is now."""
        return collection.of_texts and collection.embedder_id == self.embedder.embedder_id

    async def create(self, org_id: str, name: str, dimensions: int, embedder_id: str) -> Collection:
        """A collection for texts (no dimensions), or for the caller's vectors; the same one again changes nothing."""
        if dimensions < 0 or dimensions > self._config.vector_max_dimensions:
            raise invalid("dimensions", f"0 to {self._config.vector_max_dimensions}, not {dimensions}")
        of_texts = dimensions == 0
        if of_texts and embedder_id not in ("", self.embedder.embedder_id):
            raise invalid("embedder_id", f'DAC embeds texts with "{self.embedder.embedder_id}"; leave it empty')
        if len(embedder_id) > ID_CHARACTERS_MAX:
            raise invalid("embedder_id", f"at most {ID_CHARACTERS_MAX} characters")
        wanted = Collection(
            org_id,
            self._new_id(),
            _name(name),
            dimensions or self.embedder.dimensions,
            embedder_id or (self.embedder.embedder_id if of_texts else EXTERNAL),
            of_texts,
            *(0, 0, 0, 0),
            self._clock(),
        )
        found = await self._store.create(org_id, wanted)
        if (found.of_texts, found.of_texts or found.dimensions) != (of_texts, of_texts or dimensions):
            kind = "texts" if found.of_texts else f"vectors of {found.dimensions} numbers"
            raise errors.collection_differs(name, f"it holds {kind}")
        if not of_texts and found.embedder_id != wanted.embedder_id:
            raise errors.collection_differs(name, f'its vectors are made by "{found.embedder_id}"')
        return found

    async def get(self, org_id: str, name: str) -> Collection:
        """One collection."""
        found = await self._store.find(org_id, _name(name))
        if found is None:
            raise errors.collection_not_found(name)
        return found

    async def collections(self, org_id: str, page_size: int, page_token: str) -> tuple[list[Collection], str]:
        """By name, with the token of the next page."""
        if page_size < 0 or page_size > PAGE_MAX:
            raise invalid("page_size", f"0 to {PAGE_MAX}, not {page_size}")
        limit = page_size or PAGE_DEFAULT
        found = await self._store.collections(org_id, limit + 1, _name(page_token, "page_token") if page_token else "")
        return found[:limit], found[limit - 1].name if len(found) > limit else ""

    async def delete(self, org_id: str, name: str) -> None:
        """Deletes a collection: first where it is searched, then where it is kept."""
        collection = await self.get(org_id, name)
        await self.index.drop(collection)
        await self._store.drop(collection)

    async def upsert(self, org_id: str, name: str, items: Sequence[Item], embedder_id: str) -> list[str]:
        """Saves items, all or none; their ids."""
        check_count(len(items))
        if len({bool(one.vector) for one in items}) > 1:
            raise invalid("items", "either all have a vector or none")
        with_vectors = bool(items[0].vector)
        ids = [self._checked_id(one, number) for number, one in enumerate(items)]
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise invalid("items", f'two have the id "{twice}"')
        collection = await self._store.find(org_id, _name(name))
        if collection is None:
            made_by = embedder_id if with_vectors else ""
            collection = await self.create(org_id, name, len(items[0].vector), made_by)
        if with_vectors:
            rows = self._rows(collection, [one.vector for one in items], embedder_id or EXTERNAL)
        else:
            self._check_takes_text(collection)
            rows = await self.embedder.embed([one.text for one in items])
        key = await self._sealer.key_of(org_id)
        new = [self._sealed(key, collection, one_id, one) for one_id, one in zip(ids, items, strict=True)]
        saved = await self._store.upsert(collection, new, rows, self._clock(), self._config.vector_max_items)
        await self._settle(saved)
        return ids

    async def search(
        self,
        org_id: str,
        name: str,
        *,
        text: str,
        vector: Sequence[float],
        top_k: int,
        where: Mapping[str, Any],
        min_score: float | None,
        embedder_id: str,
    ) -> list[Found]:
        """The nearest items, nearest first."""
        if bool(text) == bool(vector):
            raise invalid("text", "give either a text or a vector to search for")
        if not 0 <= top_k <= TOP_K_MAX:
            raise invalid("top_k", f"0 to {TOP_K_MAX}, not {top_k}")
        self._check_text(text, "text")
        collection = await self.get(org_id, name)
        key = await self._sealer.key_of(org_id)
        pairs = _wanted(key, where)
        if vector:
            row = self._rows(collection, [vector], embedder_id or collection.embedder_id)[0]
        else:
            self._check_takes_text(collection)
            row = (await self.embedder.embed([text]))[0]
            # What was written while the text was embedded is searched, too.
            collection = await self.get(org_id, name)
        hits = await self.index.search(collection, row, top_k or TOP_K_DEFAULT, pairs)
        if min_score is not None:
            hits = [one for one in hits if one[1] >= min_score]
        items = await self._store.items(collection, [number for number, _ in hits]) if hits else {}
        # What is gone meanwhile is not shown, whatever the index says.
        return [_found(key, collection, items[number], score) for number, score in hits if number in items]

    async def remove(self, org_id: str, name: str, ids: Sequence[str], where: Mapping[str, Any]) -> int:
        """Deletes items by ids or by a filter; how many there were."""
        if bool(ids) == bool(where):
            raise invalid("ids", "give either ids or a filter; to delete all, delete the collection")
        if len(ids) > ITEMS_MAX:
            raise invalid("ids", f"at most {ITEMS_MAX}, not {len(ids)}")
        collection = await self.get(org_id, name)
        pairs = _wanted(await self._sealer.key_of(org_id), where)
        removed, changed = await self._store.remove(collection, ids, pairs, self._clock())
        if removed:
            await self._settle(changed)
        return removed

    async def reindex(self, org_id: str, name: str) -> Collection:
        """Embeds all texts with the embedder of now; what is written meanwhile is embedded in another try."""
        for _ in range(REINDEX_TRIES):
            collection = await self.get(org_id, name)
            if not collection.of_texts:
                raise errors.takes_no_text(collection.name, collection.embedder_id)
            if self.takes_text(collection):
                return collection
            key = await self._sealer.key_of(org_id)
            numbers: list[int] = []
            rows = [np.zeros((0, self.embedder.dimensions), np.float32)]
            while page := await self._store.page(collection, numbers[-1] if numbers else 0, REINDEX_PAGE):
                texts = [_opened(key, collection, one)[0] for one in page]
                if "" in texts:
                    raise errors.nothing_to_embed(name, page[texts.index("")].item_id)
                rows.append(await self.embedder.embed(texts))
                numbers += [one.seq for one in page]
            if await self._store.replace_vectors(
                collection, numbers, np.concatenate(rows), self.embedder.embedder_id, self._clock()
            ):
                return await self.get(org_id, name)
        raise errors.changes_too_fast(name)

    async def _settle(self, collection: Collection) -> None:
        """Tells the index early. It is saved already, and a search would tell it as well: so no failure comes out."""
        try:
            await self.index.settle(collection)
        except MeshError:
            return

    def _check_takes_text(self, collection: Collection) -> None:
        if not collection.of_texts:
            raise errors.takes_no_text(collection.name, collection.embedder_id)
        if not self.takes_text(collection):
            raise errors.needs_reindex(collection.name, collection.embedder_id, self.embedder.embedder_id)

    def _check_text(self, text: str, field: str) -> None:
        size, limit = len(text.encode("utf-8", "surrogatepass")), self._config.vector_max_text_bytes
        if size > limit:
            raise invalid(field, f"at most {limit} bytes (vector_max_text_bytes), not {size}")
        if "\x00" in text:
            raise invalid(field, "must not contain the character U+0000")

    def _checked_id(self, item: Item, number: int) -> str:
        field = f"items[{number}]"
        if len(item.item_id) > ID_CHARACTERS_MAX or "\x00" in item.item_id:
            raise invalid(f"{field}.id", f"at most {ID_CHARACTERS_MAX} characters, none of them U+0000")
        self._check_text(item.text, f"{field}.text")
        if not item.vector and not item.text.strip():
            raise invalid(field, "needs a text or a vector")
        size = len(_json(item.metadata).encode())
        if size > METADATA_BYTES_MAX or "\\u0000" in _json(item.metadata):
            raise invalid(f"{field}.metadata", f"at most {METADATA_BYTES_MAX} bytes of JSON without U+0000, not {size}")
        return item.item_id or self._new_id()

    def _rows(self, collection: Collection, vectors: Sequence[Sequence[float]], embedder_id: str) -> Vectors:
        """The vectors of length 1, when they belong into this collection."""
        if embedder_id != collection.embedder_id:
            raise errors.other_embedder(collection.name, collection.embedder_id, embedder_id)
        for one in vectors:
            if len(one) != collection.dimensions:
                raise errors.wrong_dimensions(collection.name, len(one), collection.dimensions, collection.embedder_id)
        rows = np.asarray(vectors, np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all() or not lengths.all():
            raise invalid("vector", "needs finite numbers that are not all 0")
        unit: Vectors = (rows / lengths).astype(np.float32)
        return unit

    def _sealed(self, key: OrgKey, collection: Collection, item_id: str, item: Item) -> NewItem:
        metadata = _json(item.metadata)
        pairs = sorted({_pair(key, name, value) for name, value in item.metadata.items() if _is_plain(value)})
        sealed = key.seal(_about(collection, item_id), {"text": item.text, "metadata": metadata})
        if sealed is not None:
            return NewItem(item_id, "", "{}", sealed, pairs)
        return NewItem(item_id, item.text, metadata, None, pairs)


def _name(name: str, field: str = "collection") -> str:
    if not NAME.fullmatch(name):
        raise invalid(field, f'a letter or digit, then up to 63 letters, digits, ".", "-" or "_", not "{name[:80]}"')
    return name


def _about(collection: Collection, item_id: str) -> str:
    return f"vector_items/{collection.collection_id}/{item_id}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _pair(key: OrgKey, name: str, value: Any) -> int:
    """The number of "this field has this value"; 3 and 3.0 are one, true and 1 are two."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return key.term_id(f"vector\0{name}\0{_json(value)}")


def _wanted(key: OrgKey, where: Mapping[str, Any]) -> list[int]:
    if len(where) > FILTER_FIELDS_MAX:
        raise invalid("filter", f"at most {FILTER_FIELDS_MAX} fields, not {len(where)}")
    for name, value in where.items():
        if not _is_plain(value):
            raise invalid("filter", f'"{name[:80]}" is compared with a text, a number, true or false only')
    return sorted({_pair(key, name, value) for name, value in where.items()})


def _opened(key: OrgKey, collection: Collection, item: StoredItem) -> tuple[str, str]:
    if item.sealed is None:
        return item.text, item.metadata_json
    fields = key.open(_about(collection, item.item_id), item.sealed)
    return fields["text"], fields["metadata"]


def _found(key: OrgKey, collection: Collection, item: StoredItem, score: float) -> Found:
    text, metadata = _opened(key, collection, item)
    return Found(item.item_id, score, text, json.loads(metadata))
