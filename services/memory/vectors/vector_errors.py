"""The named failures of embedders and of collections of vectors."""

from __future__ import annotations

from mesh.errors import MeshError, Reason


def collection_not_found(name: str) -> MeshError:
    """No such collection in the caller's organisation; another's looks the same."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no collection "{name[:64]}" in this organisation; GET /vector/collections lists them.',
        metadata={"collection": name[:64]},
    )


def collection_differs(name: str, problem: str) -> MeshError:
    """There is a collection of this name, and it is another one."""
    return MeshError(
        Reason.ALREADY_EXISTS,
        f'There is a collection "{name}" already, and {problem}: choose another name, or delete it first.',
        metadata={"collection": name},
    )


def collection_full(name: str, count: int, limit: int) -> MeshError:
    """More items than a collection may have."""
    return MeshError(
        Reason.TOO_LARGE,
        f'Collection "{name}" would have {count} items and at most {limit} are allowed (vector_max_items): delete '
        "some, or use another collection.",
        metadata={"collection": name, "limit": str(limit)},
    )


def wrong_dimensions(name: str, given: int, wanted: int, embedder_id: str) -> MeshError:
    """A vector is longer or shorter than those of its collection."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f'A vector of {given} numbers does not go into collection "{name}", whose vectors have {wanted} and are made '
        f'by "{embedder_id}": send vectors of that embedder, or use another collection.',
        metadata={"collection": name, "dimensions": str(wanted)},
    )


def other_embedder(name: str, has: str, given: str) -> MeshError:
    """Vectors of two embedders cannot be compared."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The vectors of collection "{name}" are made by "{has}" and cannot be compared with those of "{given}": send '
        f'vectors of "{has}" and say so in embedder_id, or use another collection.',
        metadata={"collection": name, "embedder_id": has},
    )


def needs_reindex(name: str, has: str, now: str) -> MeshError:
    """DAC embeds with another model than when the collection was filled."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'Collection "{name}" was embedded by "{has}", and DAC embeds with "{now}" now: their vectors cannot be '
        f"compared. POST /vector/collections/{name}/reindex embeds its texts anew.",
        metadata={"collection": name, "embedder_id": has},
    )


def takes_no_text(name: str, embedder_id: str) -> MeshError:
    """A collection of the caller's own vectors."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'Collection "{name}" holds vectors made by "{embedder_id}", which DAC cannot make of text: send vectors, or '
        "use a collection that was made without dimensions.",
        metadata={"collection": name, "embedder_id": embedder_id},
    )


def nothing_to_embed(name: str, item_id: str) -> MeshError:
    """An item that was saved as a vector only."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'Item "{item_id}" of collection "{name}" was saved without text, so that it cannot be embedded anew: upsert '
        "it with text, or delete it, and try again.",
        metadata={"collection": name, "id": item_id},
    )


def embedder_changed(name: str) -> MeshError:
    """A reindex came between."""
    return MeshError(
        Reason.UNAVAILABLE, f'Collection "{name}" was embedded anew meanwhile: try again.', retry_after_s=0.1
    )


def changes_too_fast(name: str) -> MeshError:
    """A reindex never found the collection at rest."""
    return MeshError(
        Reason.UNAVAILABLE,
        f'Collection "{name}" kept changing while it was embedded anew: stop writing to it and try again.',
        retry_after_s=1.0,
    )


def index_unavailable(index: str, problem: str) -> MeshError:
    """The index outside PostgreSQL does not answer."""
    return MeshError(
        Reason.UNAVAILABLE,
        f"The vector index {index} does not do its work: {problem}. What was saved is safe in PostgreSQL; try again.",
        retry_after_s=1.0,
    )


def index_not_installed(index: str) -> MeshError:
    """The chosen index needs a package."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"memory.vector_index is {index}, whose client is not installed: pip install 'dac[{index}]', or set "
        "vector_index: postgres.",
    )


def embedder_unusable(file: str, problem: str) -> MeshError:
    """The model file is none that DAC can run."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"{file} cannot be used to embed text: {problem}. Name an all-MiniLM-L6-v2 export in memory's "
        "embedding_onnx_path, or set embedding_model: hashed.",
    )


def embedder_closed() -> MeshError:
    """The process is stopping."""
    return MeshError(Reason.UNAVAILABLE, "memory is stopping and embeds no more text: try again", retry_after_s=1.0)
