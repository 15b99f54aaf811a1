"""Joining what sources say to the models of the catalog: which record is which model, and one `Facts` out of all.

A record that stands where the model stands under the name it is asked by is that model. Others are joined by the rules
of `identity.py`, never by likeness alone, and by what sources say of each other; the operator's `identities:` and
`never_join` come before all of that. Nothing is kept: joining again with one thing taken back undoes it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

from mesh.catalog import ModelEntry
from services.router.resolving.overrides import Overrides
from services.router.resolving.resolution import Resolver
from services.router.sources import Elo, SourceRecord
from services.router.sources.facts import Facts, Said, measured

ORDER = (
    *("openrouter", "models_dev", "hugging_face", "ollama", "litellm", "genai_prices"),
    *("lmarena", "benchmarks", "open_llm_leaderboard"),
)
"""Whose word counts first, among those that are equally near to the model."""
MAKERS = {
    **{name: name for name in ("openai", "anthropic", "google", "deepseek", "perplexity", "cohere")},
    **{"mistral": "mistralai", "xai": "x-ai", "moonshot": "moonshotai", "vertex": "google", "azure": "openai"},
}
"""Providers that serve models of their own (or, with azure, of one maker) under bare names → that maker."""
PLACES: Mapping[str, Mapping[str, str]] = {
    "models_dev": {
        **{"together": "togetherai", "fireworks": "fireworks-ai", "bedrock": "amazon-bedrock"},
        **{"vertex": "google-vertex", "moonshot": "moonshotai"},
    },
    "genai_prices": {"xai": "x-ai", "bedrock": "aws", "vertex": "google"},
    "litellm": {"google": "gemini", "together": "together_ai", "fireworks": "fireworks_ai", "vertex": "vertex_ai"},
}
"""Source → what it calls a provider of DAC's, where that differs."""
BY_PLACE = frozenset({"litellm", "ollama", "genai_prices"})
"""Sources whose names only mean something where they are served."""
BARE = frozenset({"lmarena"})
"""Sources whose names have no maker: they are read from their side, beside what each model is called elsewhere."""
HOMES = frozenset(
    {
        *("openai", "anthropic", "google", "mistral", "deepseek", "xai", "cohere", "perplexity", "meta", "llama"),
        *("alibaba", "moonshotai", "zai", "zhipuai", "minimax", "nvidia", "openrouter", "upstage", "xiaomi", "stepfun"),
    }
)
"""models.dev's providers that serve models of their own, and the one that has most of the rest."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """A model of the catalog that facts are wanted for."""

    model: str
    places: tuple[tuple[str, str], ...]
    """(provider, the name it has there) of every endpoint."""

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called, with its maker where that is known."""
        found = []
        for provider, name in self.places:
            plain = name.removeprefix("models/").removesuffix(":latest").removesuffix(":free")
            maker = MAKERS.get(provider)
            found.append(f"{maker}/{plain}" if maker and "/" not in plain else plain)
        return tuple(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """A record that is this model."""

    near: int
    """0 = at the very place where it stands, else 1."""
    record: SourceRecord
    why: str


def wanted_of(entries: Iterable[ModelEntry]) -> tuple[Wanted, ...]:
    """What to ask sources for."""
    return tuple(
        Wanted(entry.model, tuple((one.provider, one.name) for one in entry.endpoints))
        for entry in sorted(entries, key=lambda one: one.model)
    )


def join(
    wanted: Sequence[Wanted],
    sources: Mapping[str, Callable[[], Iterable[SourceRecord]]],
    overrides: Overrides | None = None,
) -> dict[str, Facts]:
    """Facts by DAC id, for the models that any source knows. `sources`: name → its records, read one after the other so
    that only what was joined stays in memory."""
    overrides = overrides or Overrides()
    found: dict[str, list[_Found]] = {one.model: [] for one in wanted}
    for source in sorted(sources, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        records = {one.id: one for one in sources[source]()}
        if records:
            _join_source(source, records, wanted, found, overrides)
    return {model: _facts(rows) for model, rows in found.items() if rows}


def _join_source(
    source: str,
    records: Mapping[str, SourceRecord],
    wanted: Sequence[Wanted],
    found: Mapping[str, list[_Found]],
    overrides: Overrides,
) -> None:
    by_hand: dict[str, str] = {}
    for name in records:
        if model := overrides.joined(source, name):
            by_hand.setdefault(model, name)
    lowered = {name.lower(): name for name in records}
    resolve = _resolving(source, records, wanted, found)
    for one in wanted:
        decided = by_hand.get(one.model)
        if decided is not None:
            found[one.model].append(_Found(0, records[decided], "the operator says so"))
            continue
        made = _at_place(source, records, one) or _pointed_at(lowered, records, found[one.model]) or resolve(one)
        if made is not None and not overrides.barred(source, made.record.id, one.model):
            found[one.model].append(made)


def _resolving(
    source: str,
    records: Mapping[str, SourceRecord],
    wanted: Sequence[Wanted],
    found: Mapping[str, Sequence[_Found]],
) -> Callable[[Wanted], _Found | None]:
    """What finds a model's record by the rules of identity; made when it is first needed."""
    if source in BY_PLACE:
        return lambda one: None
    if source in BARE:
        read = functools.cache(lambda: _from_their_side(source, records, wanted, found))
        return lambda one: read().get(one.model)
    prepared = functools.cache(lambda: (pool := _pool(source, records), Resolver(pool)))

    def resolve(one: Wanted) -> _Found | None:
        pool, resolver = prepared()
        for name in one.names:
            if name.lower() in pool:
                return _Found(1, records[pool[name.lower()]], "exact: the names are the same")
            match = resolver.resolve(name, source)
            if match.candidate is not None:
                return _Found(1, records[pool[match.candidate]], f"{match.rule}: {match.explanation}")
        return None

    return resolve


def _from_their_side(
    source: str,
    records: Mapping[str, SourceRecord],
    wanted: Sequence[Wanted],
    found: Mapping[str, Sequence[_Found]],
) -> dict[str, _Found]:
    """Model → its record, by asking of every record which model it is."""
    called: dict[str, list[str]] = {}
    for one in wanted:
        elsewhere = [_spoken(row.record) for row in found[one.model] if row.record.source not in BY_PLACE]
        for name in dict.fromkeys(name.lower() for name in (*one.names, *elsewhere)):
            called.setdefault(name, []).append(one.model)
    resolver = Resolver(called)
    best: dict[str, tuple[float, str, _Found]] = {}
    for name in records:
        match = resolver.resolve(name, source)
        for model in called.get(match.candidate or "", ()):
            made = (match.score, name, _Found(1, records[name], f"{match.rule}: {match.explanation}"))
            # Of two that are as near, the later name is the later date.
            if model not in best or made[:2] > best[model][:2]:
                best[model] = made
    return {model: one for model, (_, _, one) in best.items()}


def _spoken(record: SourceRecord) -> str:
    """A record's name, with its maker in front where the source says or implies it."""
    if record.source == "models_dev" and record.author != record.provider:
        return record.id.removeprefix(f"{record.provider}/")
    return record.id


def _at_place(source: str, records: Mapping[str, SourceRecord], wanted: Wanted) -> _Found | None:
    """The record of one of the places where the model stands, under the name that it has there."""
    for provider, name in wanted.places:
        place = PLACES.get(source, {}).get(provider, provider)
        plain = name.removeprefix("models/").removesuffix(":latest")
        for known in (f"{place}/{plain}", plain):
            record = records.get(known)
            if record is not None and record.provider == place:
                return _Found(0, record, f"it is {plain} at {place}")
    return None


def _pointed_at(
    lowered: Mapping[str, str], records: Mapping[str, SourceRecord], found: Sequence[_Found]
) -> _Found | None:
    """The record that one joined before says it is, by its name on Hugging Face."""
    for one in found:
        name = lowered.get(one.record.hugging_face_id.lower()) if one.record.hugging_face_id else None
        if name is not None:
            return _Found(1, records[name], f"{one.record.source} says that it is {one.record.hugging_face_id}")
    return None


def _pool(source: str, records: Mapping[str, SourceRecord]) -> dict[str, str]:
    """Name with its maker, in lower case → the source's id, of the records that a model elsewhere may be."""
    pool: dict[str, str] = {}
    for name, record in records.items():
        # `:free`, `:extended` and the like are ways to be served, not models.
        if (source == "models_dev" and record.provider not in HOMES) or ":" in name:
            continue
        pool.setdefault(_spoken(record).lower(), name)
    return pool


def _facts(rows: Sequence[_Found]) -> Facts:
    # The order of sources is that of the rows.
    records = [one.record for one in sorted(rows, key=lambda one: one.near)]
    elo: dict[str, Elo] = {}
    benchmarks: dict[str, float] = {}
    for record in records:
        elo = elo or dict(record.elo)
        benchmarks = {**record.benchmarks, **benchmarks}
    quality, by_intent = measured(elo, benchmarks)
    here = [one.record for one in rows if one.near == 0]
    speed = next((one for one in records if one.speed_tokens_per_s), None)
    return Facts(
        context_tokens=next((one.context_tokens for one in records if one.context_tokens), 0),
        max_output_tokens=next((one.max_output_tokens for one in records if one.max_output_tokens), 0),
        capabilities=next((one.capabilities for one in records if one.capabilities is not None), None),
        input_modalities=next((one.input_modalities for one in records if one.input_modalities), ()),
        output_modalities=next((one.output_modalities for one in records if one.output_modalities), ()),
        licence=next((one.licence for one in records if one.licence), ""),
        open_weights=next((one.open_weights for one in records if one.open_weights is not None), None),
        parameters=next((one.parameters for one in records if one.parameters), 0),
        quantization=next((one.quantization for one in here if one.quantization), ""),
        hugging_face_id=next((one.hugging_face_id for one in records if one.hugging_face_id), ""),
        speed_tokens_per_s=0.0 if speed is None else speed.speed_tokens_per_s,
        first_token_ms=0.0 if speed is None else speed.first_token_ms,
        nano_usd_per_mtok=next((one.nano_usd_per_mtok for one in here if one.nano_usd_per_mtok is not None), None),
        elo=elo,
        benchmarks=benchmarks,
        quality=quality,
        quality_by_intent=by_intent,
        said=tuple(Said(one.record.source, one.record.id, one.why, one.record.seen_at_s) for one in rows),
    )
