"""What providers' own lists say of models, and how that joins what files and the catalog say: it fills, never wins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from mesh.catalog import OWN, ModelEntry

LONGEST_NAME = 130
"""Callers may name a model in 200 characters, of which its provider's name takes some."""
NOT_CHAT_MARKS = (
    "embed",
    "whisper",
    "tts",
    "dall-e",
    "image",
    "moderation",
    "audio",
    "realtime",
    "transcribe",
    "rerank",
    "sora",
    "veo-",
    "imagen",
    "lyria",
    "-live",
    "davinci",
    "babbage",
    "bge-",
    "all-minilm",
)
"""Parts of names of models that do not chat; a provider lists them beside those that do."""
EMBEDDING_MARKS = ("embed", "bge-", "all-minilm")
"""Parts of names of models that make embeddings."""
EMBEDDINGS = "embeddings"
"""The capability of models that embed."""
ASSUMED_CAPABILITIES = ("tools", "json")
"""Assumed of a model whose list says nothing of what it can."""
LISTED = "listed"
"""The source of a model that only its provider's list knows."""


@dataclasses.dataclass(frozen=True)
class ProbeView:
    """How a model did in the graded questions."""

    quality: float
    speed_tokens_per_s: float
    first_token_ms: float
    capabilities: tuple[str, ...]
    probed_at_s: float


@dataclasses.dataclass(frozen=True)
class ListedView:
    """A model as its provider's list has it; 0 = the list does not say."""

    name: str
    chats: bool = True
    embeds: bool = False
    context_tokens: int = 0
    max_output_tokens: int = 0
    capabilities: tuple[str, ...] | None = None
    """None = the list does not say."""
    seen_at_s: float = 0.0
    """0 = only the test call of AddProvider saw it."""
    gone: bool = False
    probe: ProbeView | None = None


@dataclasses.dataclass(frozen=True)
class ListState:
    """How a provider's list stands."""

    found: int = 0
    """Models in the last good copy, without those that are gone."""
    gone: int = 0
    listed_at_s: float = 0.0
    """Unix time of the last good copy; 0 = there is none."""
    tried_at_s: float = 0.0
    error: str = ""
    """Why the last try failed; empty = it did not."""


class Lists:
    """Every provider's list, by plain name; made once for each view."""

    def __init__(
        self, named: Mapping[str, Sequence[str]] | None = None, lists: Mapping[str, Sequence[ListedView]] | None = None
    ) -> None:
        """`named`: names that the test call of AddProvider saw; `lists`: what discovery keeps."""
        self._strict = frozenset(provider for provider, names in (named or {}).items() if names)
        self._by_provider: dict[str, dict[str, ListedView]] = {}
        for provider, names in (named or {}).items():
            rows = self._by_provider.setdefault(provider, {})
            rows.update((plain_name(name), _from_name(name)) for name in names)
        for provider, listed in (lists or {}).items():
            rows = self._by_provider.setdefault(provider, {})
            for one in listed:
                name = plain_name(one.name)
                # `x` and `x:latest` are one model; the one that is there counts.
                if name not in rows or not one.gone or rows[name].gone or not rows[name].seen_at_s:
                    rows[name] = one

    def find(self, provider: str, upstream: str) -> ListedView | None:
        """What the provider's list says of a model; a dated snapshot of it counts."""
        rows = self._by_provider.get(provider)
        if not rows:
            return None
        wanted = plain_name(upstream)
        exact = rows.get(wanted)
        if exact is not None and not exact.gone:
            return exact
        dated = wanted + "-20"
        return next((one for name, one in rows.items() if name.startswith(dated) and not one.gone), exact)

    def problem(self, provider: str, upstream: str, source: str) -> str:
        """Why the list says that a model cannot be asked there; empty when it does not say so."""
        found = self.find(provider, upstream)
        if found is not None and found.gone and source not in OWN:
            return f"provider {provider} lists {upstream} no more"
        if found is None and provider in self._strict:
            return f"provider {provider} does not list {upstream}"
        return ""

    def of(self, provider: str) -> Iterable[ListedView]:
        """All models of one provider's list."""
        return self._by_provider.get(provider, {}).values()


def plain_name(upstream: str) -> str:
    """An upstream name without what providers put around it in lists (`models/…`, `…:latest`)."""
    return upstream.removeprefix("models/").removesuffix(":latest")


def is_chat_model(upstream: str) -> bool:
    """Whether a listed name looks like a model that chats."""
    lowered = upstream.lower()
    return not any(mark in lowered for mark in NOT_CHAT_MARKS)


def filled(entry: ModelEntry, found: ListedView | None) -> ModelEntry:
    """The entry with what it leaves open (0 = unknown) taken from its provider's list and from probes."""
    if found is None or entry.source == LISTED:
        return entry
    changes: dict[str, int | float] = {}
    if not entry.max_output_tokens and found.max_output_tokens:
        changes["max_output_tokens"] = found.max_output_tokens
    probe = found.probe
    if probe is not None and not entry.speed_tokens_per_s and not entry.first_token_ms:
        changes["speed_tokens_per_s"] = probe.speed_tokens_per_s
        changes["first_token_ms"] = probe.first_token_ms
    return dataclasses.replace(entry, **changes) if changes else entry  # type: ignore[arg-type]


def entries_of(
    providers: Mapping[str, str],
    lists: Lists,
    known: Iterable[ModelEntry],
    *,
    quality: float,
    context_tokens: int,
) -> list[ModelEntry]:
    """Entries for models that only lists know. `providers`: those that are enabled, with their model class."""
    known = list(known)
    places = {(one.provider, plain_name(one.name)) for entry in known for one in entry.endpoints}
    # A list must not take over an id or an alias that the operator gave to something else.
    taken = {entry.model for entry in known} | {alias for entry in known for alias in entry.aliases}
    made = []
    for provider, model_class in providers.items():
        for one in lists.of(provider):
            name = one.name.removeprefix("models/")
            model = f"{provider}/{name}"
            if (provider, plain_name(name)) in places or model in taken or not (one.chats or one.embeds):
                continue
            if not name.isprintable() or len(name) > LONGEST_NAME:
                # It would stand in headers and pages; nobody could ask for it.
                continue
            taken.add(model)
            probe = one.probe
            made.append(
                ModelEntry(
                    model=model,
                    provider=provider,
                    name=name,
                    quality=quality if probe is None else probe.quality,
                    context_tokens=one.context_tokens or context_tokens,
                    max_output_tokens=one.max_output_tokens,
                    speed_tokens_per_s=0.0 if probe is None else probe.speed_tokens_per_s,
                    first_token_ms=0.0 if probe is None else probe.first_token_ms,
                    capabilities=_capabilities(one),
                    model_class=model_class,
                    source=LISTED,
                    left_open=_left_open(one),
                )
            )
    return made


def _left_open(one: ListedView) -> tuple[str, ...]:
    """What neither the list nor a probe says."""
    said = {"context_tokens": bool(one.context_tokens), "quality": one.probe is not None}
    said["capabilities"] = one.capabilities is not None or one.probe is not None or not one.chats
    return tuple(field for field, known in said.items() if not known)


def _capabilities(one: ListedView) -> tuple[str, ...]:
    if not one.chats:
        return (EMBEDDINGS,)
    known = set(one.capabilities or ())
    if one.probe is not None:
        # What it was asked and could not do does not count, whatever the list says.
        known = (known - set(ASSUMED_CAPABILITIES)) | set(one.probe.capabilities)
    elif one.capabilities is None:
        known |= set(ASSUMED_CAPABILITIES)
    if one.embeds:
        known.add(EMBEDDINGS)
    return tuple(sorted(known))


def _from_name(name: str) -> ListedView:
    lowered = name.lower()
    embeds = any(mark in lowered for mark in EMBEDDING_MARKS)
    return ListedView(name, chats=is_chat_model(name), embeds=embeds)
