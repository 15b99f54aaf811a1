"""Variables whose name begins with DAC_ and that nobody reads: most likely misspelt, and without this unnoticed."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

ELSEWHERE = frozenset(
    {
        "DAC_API_KEY",
        "DAC_BACKUP_PASSPHRASE",
        "DAC_BASE_URL",
        "DAC_CONFIG",
        "DAC_READY_FD",
        # Of compose.
        "DAC_SECRETS",
        # Of tests and benchmarks, in whose shell a DAC may be started.
        "DAC_BENCH_RUN",
        "DAC_HELM",
        "DAC_HISTORIES",
        "DAC_KILLS",
        "DAC_LEDGER_EXAMPLES",
        "DAC_PROMTOOL",
        "DAC_SEED",
        "DAC_SEEDS",
        "DAC_TIMESCALE_URL",
        "DAC_UPDATE_GOLDEN",
    }
)
"""Names that are read, but belong to no field of the configuration."""
_OF_KUBERNETES = re.compile(
    r"_SERVICE_(?:HOST|PORT)(?:_[A-Z0-9_]+)?$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?$"
)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")


def named_in(raw: object) -> Iterator[str]:
    """The variables that a document takes secrets from, {env: NAME}, wherever they stand."""
    if isinstance(raw, Mapping):
        if len(raw) == 1 and isinstance(raw.get("env"), str):
            yield raw["env"]
        for value in raw.values():
            yield from named_in(value)
    elif isinstance(raw, list):
        for value in raw:
            yield from named_in(value)


def unknown_variables(env: Mapping[str, str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(NAME, the nearest known one or nothing) of each variable that is set and that nobody reads.

    `known`: those of the configuration's fields and documents.
    """
    names = {*known, *ELSEWHERE}
    for name, value in sorted(env.items()):
        if name.startswith("DAC_") and value and name not in names and not _by_kubernetes(name, value):
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
            yield name, close[0] if close else ""


def in_words(name: str, near: str) -> str:
    """What to tell of one of them."""
    return f"{name} is set, and nothing reads it" + (f': did you mean "{near}"?' if near else "")


def _by_kubernetes(name: str, value: str) -> bool:
    """Kubernetes tells pods of the services beside them (enableServiceLinks): one may be called dac-something."""
    return bool(_OF_KUBERNETES.search(name) or (name.endswith("_PORT") and _ADDRESS.match(value)))
