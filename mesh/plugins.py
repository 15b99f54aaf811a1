"""Parts that come from outside, as entry points of installed packages. Names are read here, nothing is loaded."""

from importlib import metadata

PROVIDERS = "dac.providers"
"""The group of kinds of providers."""


def named(group: str) -> dict[str, metadata.EntryPoint]:
    """The entry points of a group by name; of two with one name the first stands."""
    found: dict[str, metadata.EntryPoint] = {}
    for one in metadata.entry_points(group=group):
        found.setdefault(one.name, one)
    return found
