"""THE table: every target with its config, its builder and what it needs. The only file that knows all services.

Start order, channels, the split launcher, workers (and later NetworkPolicy and Envoy clusters) are derived from it.
"""

import dataclasses
import datetime as dt
import importlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.catalog import ModelEntry, ProviderEntry, parse_catalog
from mesh.config import ConfigError, MeshConfig, build, env_name, nearest, read_documents, unset_variables
from mesh.documents import Documents
from mesh.service import Context, Service
from mesh.variables import named_in, unknown_variables


@dataclasses.dataclass(frozen=True)
class Target:
    """One service that can be run."""

    name: str
    config: str
    """module:class of its config dataclass."""
    builder: str
    """module:function that builds it from a Context."""
    needs: tuple[str, ...]
    """Services it calls to do its work; they start before it."""
    tells: tuple[str, ...] = ()
    """Services it calls in the background; it starts and works without them."""
    edge: bool = False
    """Whether `dac up --workers N` may run it N times beside one of each stateful writer."""

    def config_class(self) -> type[Any]:
        """Its config dataclass."""
        return _load(self.config)  # type: ignore[no-any-return]

    def build(self, context: Context) -> Service:
        """The built service."""
        return _load(self.builder)(context)  # type: ignore[no-any-return]

    @property
    def migrations(self) -> pathlib.Path:
        """The folder of its migrations."""
        return ROOT / "services" / self.name / "migrations"


def _target(name: str, *, needs: tuple[str, ...] = (), tells: tuple[str, ...] = (), edge: bool = False) -> Target:
    config = f"services.{name}.config:{name.capitalize()}Config"
    return Target(name, config, f"services.{name}.server:build", needs, tells, edge)


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        _target("budget", tells=("audit",)),
        _target("audit", needs=("budget",)),
        _target("memory", tells=("router", "provider", "budget", "audit")),
        _target("provider", tells=("audit", "budget"), edge=True),
        _target("router", needs=("provider", "budget"), tells=("audit",), edge=True),
        _target("gateway", needs=("router", "provider", "budget", "memory", "audit"), edge=True),
    )
}
"""name → target."""

ROOT = pathlib.Path(__file__).resolve().parent.parent
"""The folder that holds mesh/, services/ and config/."""

SHIPPED_CONFIG = ROOT / "config"

RELOADED = ("policies", "tenants")
"""Sections that their service reads from the files itself, also while it runs."""
RELOADED_CHECK = "services.router.policies.files:check"
"""module:function that says what is wrong in them."""


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def start_order(names: Iterable[str]) -> list[str]:
    """`names` with every service behind those it needs. Raises ConfigError for an unknown one."""
    wanted, order = list(dict.fromkeys(names)), []
    for name in wanted:
        if name not in TARGETS:
            raise ConfigError(f'there is no target "{name}"{nearest(name, TARGETS)}')

    def visit(name: str) -> None:
        if name in order:
            return
        for needed in TARGETS[name].needs:
            if needed in wanted:
                visit(needed)
        order.append(name)

    for name in wanted:
        visit(name)
    return order


@dataclasses.dataclass(frozen=True)
class Settings:
    """The whole configuration of a process."""

    mesh: MeshConfig
    services: Mapping[str, Any]
    """Service name → its config dataclass."""
    providers: tuple[ProviderEntry, ...]
    models: tuple[ModelEntry, ...]
    source: str
    """Where the file came from, for people."""
    documents: Documents | None = None
    """The same files, for what is read again while DAC runs."""
    catalog_read_on: dt.date | None = None
    """The day on which the shipped catalog's prices were read; None = it does not say."""
    unset: tuple[tuple[str, str], ...] = ()
    """(place, NAME) of what the operator's file takes from a variable that is not set."""
    unknown: tuple[tuple[str, str], ...] = ()
    """(NAME, the nearest known one or nothing) of each variable DAC_… that is set and that nothing reads."""


def load_settings(
    config: pathlib.Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Reads the file or folder, the environment and flags (section → field → value). Raises ConfigError."""
    env = os.environ if env is None else env
    flags = flags or {}
    path = config or (pathlib.Path(env["DAC_CONFIG"]) if env.get("DAC_CONFIG") else None)
    documents = Documents(SHIPPED_CONFIG, path)
    shipped = read_documents(SHIPPED_CONFIG)
    document = read_documents(path) if path else {}
    sections = {"mesh": MeshConfig} | {name: target.config_class() for name, target in TARGETS.items()}
    known = {*sections, "providers", "models", "aliases", *RELOADED}
    # Who copies the shipped files and changes them has the day of their prices as well.
    read_on = document.pop("read_on", None) or shipped.get("read_on")
    if read_on is not None and not isinstance(read_on, dt.date):
        raise ConfigError(f'{path}: read_on: "{read_on}" is no day like 2027-01-31')
    for key in document:
        if key not in known:
            raise ConfigError(f'{path}: unknown section "{key}"{nearest(str(key), known)}')
    built = {
        name: build(cls, name, {**(shipped.get(name) or {}), **(document.get(name) or {})}, env, flags.get(name, {}))
        for name, cls in sections.items()
    }
    providers, models = parse_catalog(document, shipped, env)
    if built["gateway"].record_prompts and not built["audit"].seal_payloads:
        raise ConfigError(
            "gateway.record_prompts: prompts and answers are recorded only where records are sealed, so that an "
            "erasure reaches them in copies, too: set audit.seal_payloads: true (DAC_AUDIT_SEAL_PAYLOADS)"
        )
    mesh = built.pop("mesh")
    unset = tuple(unset_variables(document, env))
    names = {env_name(name, field) for name, cls in sections.items() for field in dataclasses.fields(cls)}
    unknown = tuple(unknown_variables(env, {*names, *named_in(document), *named_in(shipped)}))
    source = str(path or "built-in defaults")
    return Settings(mesh, built, providers, models, source, documents, read_on, unset, unknown)


def check_reloaded(settings: Settings) -> None:
    """Raises MeshError for what is wrong in the sections that their service reads itself."""
    _load(RELOADED_CHECK)(settings.documents, settings.services["router"])
