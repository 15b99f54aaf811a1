"""What operators may set under `memory:`."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    thread_max_messages: int = 100_000
    """The most messages in one thread, on all branches; 0 = no limit. A turn that would be one too many is refused; an
    answer never is. Chat applications often set 500; the default only stops what runs away, because programs keep one
    thread for long."""
    thread_max_branches: int = 100
    """The most branches in one thread; 0 = no limit. Each edit and each new answer makes one, so the 10 that chat
    applications often set are soon reached."""
    thread_max_per_user: int = 10_000
    """The most threads, without deleted ones, of one user; 0 = no limit. Chat applications often set 1000. Threads of
    keys without a user are not counted: a program may begin one with every call."""
    search_numbering_interval_s: float = 30.0
    """How often it is looked for messages that an older program saved and that search does not find yet."""
    search_numbering_limit: int = 200
    """The most such messages that are made findable in one transaction."""
    cache_lifetime_s: float = 3600.0
    """How long a stored answer lives when the caller does not say."""
    cache_max_lifetime_s: float = 2_592_000.0
    """The longest life a caller may ask for."""
    cache_semantic: bool = True
    """Whether a question in other words may get a stored answer. False: only equal questions do."""
    cache_semantic_lifetime_s: float = 2_592_000.0
    """How long an answer to a scoped question lives when the caller does not say, up to a tenth less by chance."""
    cache_volatile_lifetime_s: float = 300.0
    """The longest life of an answer about today, now, the latest, prices, weather."""
    cache_min_quality: float = 0.6
    """Answers whose quality is known to be at most this are not stored."""
    cache_max_prompt_bytes: int = 65_536
    """The longest question that is looked for. Only questions of at most 400 characters are compared by meaning."""
    cache_max_entries: int = 50_000
    """The most answers of one organisation; those unused for longest make room."""
    cache_max_bytes: int = 536_870_912
    """The most bytes of answers, questions and vectors of one organisation; those unused for longest make room."""
    cache_mirror_bytes: int = 134_217_728
    """The most memory in which one process holds vectors of questions; what is not held is read again."""
    cache_count_interval_s: float = 5.0
    """How often hits and misses are written down."""
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
    vector_weaviate_url: str = field(default="http://127.0.0.1:8080", metadata={"env": "DAC_WEAVIATE_URL"})
    """Where Weaviate answers HTTP, when vector_index is weaviate; with https its gRPC is encrypted, too."""
    vector_weaviate_grpc_address: str = field(default=":50051", metadata={"env": "DAC_WEAVIATE_GRPC_ADDRESS"})
    """Where Weaviate answers gRPC, as host:port; without a host, the one of vector_weaviate_url."""
    vector_weaviate_api_key: Secret | None = field(default=None, metadata={"env": "DAC_WEAVIATE_API_KEY"})
    """The key that Weaviate asks for, if it does."""
    vector_memory_bytes: int = 536_870_912
    """About how much memory mirrored collections may take: with faiss, or on a server without pgvector."""
    vector_max_items: int = 100_000
    """The most items in one collection."""
    vector_max_text_bytes: int = 65_536
    """The longest text of an item. Only its beginning, some 100 words, is embedded."""
    vector_max_dimensions: int = 4096
    """The longest vector that a collection takes."""
    recall_index_max_bytes: int = 1_073_741_824
    """How much of this process's memory the indexes of memories may take; the least recently used go first. One of
    100,000 memories takes about 0.4 GB."""
    recall_max_text_bytes: int = 262_144
    """The largest memory that is kept; longer turns are kept by their beginning."""
    recall_same_meaning_cosine: float = 0.95
    """From which cosine on a new fact or note that no guard tells apart is the one that is there already."""
    recall_embed_rows: int = 32
    """How many memories get their vectors at once in the background."""
    recall_embed_check_s: float = 30.0
    """How often it is looked for memories without vectors that nobody announced."""
    recall_keep_deleted_s: float = 604_800.0
    """How long it is known that a memory was deleted (its id, never its text): mirrors that are older are made anew."""
    recall_top_k: int = 8
    """How many memories a context recalls when the caller does not say."""
    recall_max_share: float = 0.3
    """The largest share of a context's tokens that facts and recalled memories take."""
    recall_max_tokens: int = 2000
    """The most tokens of a context that facts and recalled memories take, however large it may be."""
    context_tokenizer: bool = True
    """Whether contexts for OpenAI's models are counted by their vocabulary where the optional package is installed; it
    takes about 180 MB. False = they are estimated."""
    facts_model: str = ""
    """The model that reads turns for facts, in the background and on the budgets of who said them; empty = none."""
    summary_model: str = ""
    """The model that writes running summaries in the same way; empty = they are extracted, without a model."""

    def __post_init__(self) -> None:
        """Refuses what could not work."""
        for name in ("window_max_messages", "window_scan_messages", "max_message_bytes", "cache_max_entry_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("thread_max_messages", "thread_max_branches", "thread_max_per_user"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (no limit) or more, not {getattr(self, name)}")
        if self.search_numbering_limit < 1 or self.search_numbering_interval_s <= 0:
            raise ValueError("search_numbering_limit must be at least 1, search_numbering_interval_s above 0")
        if self.cache_lifetime_s <= 0 or self.cache_sweep_interval_s <= 0:
            raise ValueError("cache_lifetime_s and cache_sweep_interval_s must be above 0")
        for name in ("cache_max_prompt_bytes", "cache_max_entries", "cache_max_bytes", "cache_mirror_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("cache_semantic_lifetime_s", "cache_volatile_lifetime_s", "cache_count_interval_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.cache_min_quality <= 1:
            raise ValueError(f"cache_min_quality must be from 0 to 1, not {self.cache_min_quality}")
        if not 0 <= self.recall_max_share <= 0.5:
            raise ValueError(f"recall_max_share must be from 0 to 0.5, not {self.recall_max_share}")
        for name in ("facts_model", "summary_model"):
            model = getattr(self, name)
            if len(model) > 128 or not model.isprintable() or model == "extracted":
                raise ValueError(f'{name} must be the id of a model, such as openai/gpt-4o-mini, not "{model[:128]}"')
        if not 0 < self.recall_same_meaning_cosine <= 1.01:
            raise ValueError("recall_same_meaning_cosine must be above 0 and at most 1.01 (never)")
        for name in ("recall_index_max_bytes", "recall_max_text_bytes", "recall_embed_rows", "recall_top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.recall_embed_check_s <= 0 or self.recall_keep_deleted_s < 0 or self.recall_max_tokens < 0:
            raise ValueError(
                "recall_embed_check_s must be above 0, recall_keep_deleted_s and recall_max_tokens not below"
            )
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
