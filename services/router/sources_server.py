"""How the sources are put together for the router, and shown: the edge between them and proto and context."""

from __future__ import annotations

from collections.abc import Iterable

from dac.router.v1 import source_pb2
from mesh.service import Context
from services.router.catalog.catalog import CatalogView
from services.router.catalog.followers import LiveCatalog
from services.router.resolving.overrides import overrides_of
from services.router.sources.kept import SourceStatus
from services.router.sources.scheduler import Sources


def build_sources(context: Context, catalog: LiveCatalog) -> Sources:
    """The sources of a process, told of every change of the catalog, telling it their facts; opens nothing."""
    config = context.config
    overrides = overrides_of(context.models, config.never_join)
    sources = Sources(config, context.data_dir / "router" / "sources", catalog.hear_facts, overrides=overrides)

    def look(view: CatalogView) -> None:
        sources.look_at(model.entry for model in view.by_id.values())

    catalog.on_models = look
    look(catalog.view)
    return sources


def shown(statuses: Iterable[SourceStatus]) -> list[source_pb2.SourceStatus]:
    """Statuses as they are sent."""
    made = []
    for one in statuses:
        status = source_pb2.SourceStatus(
            source=one.source,
            origin=one.origin,
            rows=one.rows,
            dropped=one.dropped,
            age_s=one.age_s,
            error=one.error,
            asked=one.asked,
        )
        for field, at_s in (("seen_at", one.seen_at_s), ("tried_at", one.tried_at_s)):
            if at_s:
                getattr(status, field).FromNanoseconds(int(at_s * 1e9))
        made.append(status)
    return made
