"""What operators may set under `memory:`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from mesh.config import Secret


@dataclass(frozen=True)
class MemoryConfig:
    """Settings of memory."""

    window_max_messages: int = 100
    """The most earlier messages in a window when the caller does not say."""
    window_scan_messages: int = 500
    """The most earlier messages that are read to make a window, whatever the caller asks."""
    max_message_bytes: int = 8_388_608
    """The largest message that is saved."""
    cache_lifetime_s: float = 3600.0
    """How long a stored answer lives when the caller does not say."""
    cache_max_lifetime_s: float = 604_800.0
    """The longest life a caller may ask for."""
    cache_max_entry_bytes: int = 1_048_576
    """The largest answer that is stored; a larger one is not stored, and nobody is told an error."""
    cache_sweep_interval_s: float = 60.0
    """How often expired answers are deleted."""
    cache_sweep_limit: int = 1000
    """The most expired answers deleted in one transaction."""
    encrypt_text: bool = False
    """Whether text at rest is sealed with a data key of its organisation, see docs/encryption.md. Whatever is set, what
    was sealed stays readable; switched on, older rows are sealed in the background."""
    encrypt_key_check_s: float = 5.0
    """How long a data key is used without asking the database whether it is still the organisation's."""
    encrypt_reseal_rows: int = 500
    """The most rows of one table that are sealed anew in one transaction in the background."""
    encrypt_reseal_interval_s: float = 60.0
    """How often it is looked for rows to seal anew."""
    embedding_model: str = "auto"
    """auto: the model in embedding_onnx_path, else the installed one, else hashed n-grams. hashed: never a model."""
    embedding_onnx_path: str = ""
    """An ONNX export of all-MiniLM-L6-v2 (uncased BERT pieces, 384 numbers) in place of the installed package's."""
    vector_index: str = "postgres"
    """What searches vectors: postgres (pgvector where the server has it), faiss (one process only) or weaviate."""
    vector_weaviate_url: str = "http://127.0.0.1:8080"
    """Where Weaviate answers HTTP, when vector_index is weaviate; with https its gRPC is encrypted, too."""
    vector_weaviate_grpc_address: str = ":50051"
    """Where Weaviate answers gRPC, as host:port; without a host, the one of vector_weaviate_url."""
    vector_weaviate_api_key: Secret | None = None
    """The key that Weaviate asks for, if it does."""
    vector_memory_bytes: int = 536_870_912
    """About how much memory mirrored collections may take: with faiss, or on a server without pgvector."""
    vector_max_items: int = 100_000
    """The most items in one collection."""
    vector_max_text_bytes: int = 65_536
    """The longest text of an item. Only its beginning, some 100 words, is embedded."""
    vector_max_dimensions: int = 4096
    """The longest vector that a collection takes."""

    def __post_init__(self) -> None:
        """Refuses what could not work."""
        for name in ("window_max_messages", "window_scan_messages", "max_message_bytes", "cache_max_entry_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.cache_lifetime_s <= 0 or self.cache_sweep_interval_s <= 0:
            raise ValueError("cache_lifetime_s and cache_sweep_interval_s must be above 0")
        if self.embedding_model not in ("auto", "hashed"):
            raise ValueError(f'embedding_model must be auto or hashed, not "{self.embedding_model}"')
        if self.vector_index not in ("postgres", "faiss", "weaviate"):
            raise ValueError(f'vector_index must be postgres, faiss or weaviate, not "{self.vector_index}"')
        for name in ("vector_memory_bytes", "vector_max_items", "vector_max_text_bytes", "vector_max_dimensions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.vector_index == "weaviate":
            http = urlsplit(self.vector_weaviate_url)
            if http.scheme not in ("http", "https") or not http.hostname:
                raise ValueError(f'vector_weaviate_url must be like http://host:8080, not "{self.vector_weaviate_url}"')
            if not self.vector_weaviate_grpc_address.rpartition(":")[2].isdigit():
                wrong = self.vector_weaviate_grpc_address
                raise ValueError(f'vector_weaviate_grpc_address must be like host:50051, not "{wrong}"')
