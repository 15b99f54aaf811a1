"""The operator's own word on which model of a public source is which model of DAC's.

`identities:` of a model makes a join, or says that a source does not have the model; `never_join` splits one that the
rules made. Both are read anew whenever names are resolved, so taking one back undoes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.catalog import IDENTITY_SOURCES, ModelEntry
from mesh.config import nearest

ANY = "*"
"""Every name of a source."""


@dataclass(frozen=True)
class Overrides:
    """What was decided by hand; names and candidates in lower case where they are compared."""

    join: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(source, its name) → the candidate."""
    forbid: frozenset[tuple[str, str, str]] = frozenset()
    """(source, its name or ANY, the candidate or ANY)."""

    def joined(self, source: str, name: str) -> str | None:
        """The candidate that a name was joined to by hand."""
        return self.join.get((source, name.lower()))

    def barred(self, source: str, name: str, candidate: str) -> bool:
        """Whether a join was forbidden by hand."""
        names, candidates = (name.lower(), ANY), (candidate.lower(), ANY)
        return any((source, one, other) in self.forbid for one in names for other in candidates)


def parse_never(text: str) -> tuple[str, str, str]:
    """(source, name, model) of one `never_join`, in lower case. Raises ValueError."""
    told, apart, model = text.partition(" != ")
    source, colon, name = told.strip().partition(":")
    if not (apart and colon and name.strip() and model.strip()):
        raise ValueError(f'never_join: "{text}" is not of the form SOURCE:NAME != MODEL')
    if source not in IDENTITY_SOURCES:
        raise ValueError(f'never_join: there is no source "{source}"{nearest(source, IDENTITY_SOURCES)}')
    return source, name.strip().lower(), model.strip().lower()


def overrides_of(models: Iterable[ModelEntry], never_join: Iterable[str] = ()) -> Overrides:
    """What the operator wrote, for resolving names of sources to DAC's models. `never_join` wins over `identities:`."""
    forbid = {parse_never(one) for one in never_join}
    join = {}
    for entry in models:
        for source, name in entry.identities.items():
            if name:
                join[source, name.lower()] = entry.model
            else:
                forbid.add((source, ANY, entry.model.lower()))
    return Overrides(join, frozenset(forbid))
