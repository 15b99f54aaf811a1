"""One YAML document, the environment and flags → frozen dataclasses. The only place that reads any of them.

Flags win over the environment, the environment over the file, the file over defaults. Unknown keys are refused with
the nearest right name. Each service's dataclass carries a docstring under every field; `docs/configuration.md` is
generated from them.
"""

import ast
import dataclasses
import datetime as dt
import difflib
import inspect
import itertools
import pathlib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from mesh.errors import MeshError, Reason

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    # PyYAML that was built without libyaml: the same answers, ten times slower.
    from yaml import SafeLoader  # type: ignore[assignment]


class ConfigError(MeshError):
    """The configuration is wrong; the message names the place and the mend."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.FAILED_PRECONDITION, message)


class Secret:
    """A value that never prints."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """What belongs to no single service: section `mesh`."""

    data_dir: pathlib.Path = dataclasses.field(default=pathlib.Path("data"), metadata={"env": "DAC_DATA_DIR"})
    """Everything that must survive: the embedded database, secrets, logs."""
    database_url: Secret | None = dataclasses.field(default=None, metadata={"env": "DATABASE_URL"})
    """PostgreSQL to use instead of the embedded one, e.g. postgresql://dac@db/dac."""
    database_owner_url: Secret | None = dataclasses.field(default=None, metadata={"env": "DATABASE_OWNER_URL"})
    """The login that runs migrations. Without it DATABASE_URL's login does."""
    database_backup_url: Secret | None = dataclasses.field(default=None, metadata={"env": "DATABASE_BACKUP_URL"})
    """The login that `dac backup` reads with: one that sees all rows (BYPASSRLS). Without it DATABASE_OWNER_URL's."""
    redis_url: Secret | None = dataclasses.field(default=None, metadata={"env": "REDIS_URL"})
    """Redis or Valkey, e.g. redis://host:6379/0. Through it router replicas tell each other of breakers that open
    (without it through PostgreSQL), gateways share calls, and budgets count rate limits together."""
    master_key_file: pathlib.Path | None = dataclasses.field(default=None, metadata={"env": "DAC_MASTER_KEY_FILE"})
    """The master key. Without it `dac up` makes one in data/secrets."""
    master_key_old_file: pathlib.Path | None = dataclasses.field(
        default=None, metadata={"env": "DAC_MASTER_KEY_OLD_FILE"}
    )
    """The former master key, while what it sealed is sealed anew: see `dac provider rotate-master`."""
    otlp_endpoint: str = dataclasses.field(default="", metadata={"env": "OTEL_EXPORTER_OTLP_ENDPOINT"})
    """Where to send spans by OTLP/gRPC, e.g. http://127.0.0.1:4317. Empty = nowhere."""
    log_level: str = dataclasses.field(default="info", metadata={"env": "DAC_LOG_LEVEL"})
    """debug, info, warning or error."""
    log_format: str = dataclasses.field(default="auto", metadata={"env": "DAC_LOG_FORMAT"})
    """json, text, or auto: text on a terminal."""
    listen: str = dataclasses.field(default="", metadata={"env": "DAC_MESH_LISTEN"})
    """Where this process serves its targets to other processes, e.g. 0.0.0.0:50052 or unix:/run/dac/budget.sock."""
    addresses: tuple[str, ...] = dataclasses.field(default=(), metadata={"env": "DAC_MESH_ADDRESSES"})
    """Where other targets are reached, as name=address, e.g. budget=dns:///dac-budget:50052."""
    embedded_postgres_dir: pathlib.Path | None = dataclasses.field(
        default=None, metadata={"env": "DAC_EMBEDDED_POSTGRES_DIR"}
    )
    """Set by `dac up` for its children: the socket folder of the PostgreSQL it started."""
    probe_host: str = dataclasses.field(default="127.0.0.1", metadata={"env": "DAC_PROBE_HOST"})
    """The address of the probe port; 0.0.0.0 for every interface."""
    probe_port: int = dataclasses.field(default=0, metadata={"env": "DAC_PROBE_PORT"})
    """Where `dac serve` and a `dac up` of one process answer /live, /ready and /metrics for probes; 0 = nowhere."""
    lame_duck_s: float = 0.0
    """How long a stopping DAC goes on serving while it tells balancers (/ready is 503) and clients to go elsewhere."""
    drain_s: float = 30.0
    """How long running requests may take to finish when DAC stops."""

    @property
    def secrets_dir(self) -> pathlib.Path:
        """Where keys are kept (0700)."""
        return self.data_dir / "secrets"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as ` (did you mean "quality"?)`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f' (did you mean "{close[0]}"?)' if close else f" (known: {', '.join(sorted(known))})"


def read_secret(raw: object, where: str, env: Mapping[str, str]) -> Secret | None:
    """A secret from a file: text, {env: NAME} or {file: PATH}. A variable that is not set is no secret."""
    if raw is None or raw == "":
        return None
    if isinstance(raw, str):
        return Secret(raw)
    if isinstance(raw, Mapping) and len(raw) == 1:
        (how, what), *_ = raw.items()
        if how == "env":
            return Secret(env[str(what)]) if env.get(str(what)) else None
        if how == "file":
            try:
                return Secret(pathlib.Path(str(what)).read_text().strip())
            except OSError as error:
                raise ConfigError(f"{where}: {what} cannot be read ({error.strerror})") from None
    raise ConfigError(f"{where}: a secret is text, {{env: NAME}} or {{file: PATH}}")


def read_documents(path: pathlib.Path) -> dict[str, Any]:
    """A YAML file, or a folder whose *.yaml files are merged; a key defined twice is an error."""
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file or folder (DAC_CONFIG, --config)")
    files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
    merged: dict[str, Any] = {}
    origin: dict[str, pathlib.Path] = {}
    for file in files:
        try:
            document = yaml.load(file.read_text(encoding="utf-8"), _Loader)
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}{_place_of(error)}") from None
        if document is None:
            continue
        if not isinstance(document, dict):
            raise ConfigError(f"{file}: the top of a configuration is a mapping of sections")
        for key, value in document.items():
            if key in merged:
                raise ConfigError(f'{file}: "{key}" is also defined in {origin[key]}')
            merged[key], origin[key] = value, file
    return merged


def _place_of(error: yaml.YAMLError) -> str:
    """Where a file is no YAML, and why."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f": not valid YAML: {' '.join(str(error).split())}"
    told = [text for text in (getattr(error, "context", None), getattr(error, "problem", None)) if text]
    return f", line {mark.line + 1}, column {mark.column + 1}: not valid YAML: {', '.join(told)}"


class _Loader(SafeLoader):
    """SafeLoader that refuses a key defined twice in one mapping."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f'the key "{key}" is defined twice', key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def unset_variables(raw: object, env: Mapping[str, str], where: str = "") -> Iterator[tuple[str, str]]:
    """(place, NAME) of each {env: NAME} in a document whose variable is not set: there is no such secret then."""
    if isinstance(raw, Mapping):
        if len(raw) == 1 and isinstance(raw.get("env"), str):
            if not env.get(raw["env"]):
                yield where, raw["env"]
            return
        for key, value in raw.items():
            yield from unset_variables(value, env, f"{where}.{key}" if where else str(key))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from unset_variables(value, env, f"{where}[{index}]")


def convert(value: object, kind: Any, where: str, env: Mapping[str, str]) -> Any:
    """`value` as the field's type. Raises ConfigError naming the place."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [one for one in get_args(kind) if one is not type(None)]
        return None if value is None else convert(value, kinds[0], where, env)
    if kind is Secret:
        return read_secret(value, where, env)
    if kind is pathlib.Path:
        return pathlib.Path(str(value)).expanduser()
    if get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ConfigError(f"{where}: a list is needed, not {value!r}")
        return tuple(
            convert(item.strip() if isinstance(item, str) else item, get_args(kind)[0], where, env) for item in items
        )
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f'{where}: true or false is needed, not "{value}"')
    if kind in (int, float):
        try:
            if isinstance(value, bool):
                raise ValueError
            return kind(typing.cast(Any, value))
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f'{where}: a number is needed, not "{value}"') from None
    if kind is str and isinstance(value, bool):
        # YAML 1.1 reads the words on and off as booleans.
        return "on" if value else "off"
    if kind is str and not isinstance(value, str):
        raise ConfigError(f"{where}: text is needed, not {value!r} (put it in quotes)")
    return value if kind in (Any, object) or not isinstance(kind, type) else kind(typing.cast(Any, value))


T = typing.TypeVar("T")


def env_name(section: str, field: "dataclasses.Field[Any]") -> str:
    """The environment variable of a field: its own, or DAC_<SECTION>_<FIELD>."""
    return str(field.metadata.get("env") or f"DAC_{section}_{field.name}".upper())


def build(cls: type[T], section: str, raw: object, env: Mapping[str, str], flags: Mapping[str, Any]) -> T:
    """One section as its dataclass: flags > environment > file > default. Raises ConfigError."""
    if raw is not None and not isinstance(raw, Mapping):
        raise ConfigError(f"{section}: a mapping is needed, not {raw!r}")
    given: Mapping[str, Any] = raw or {}
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    for key in given:
        if key not in fields:
            raise ConfigError(f'{section}: unknown key "{key}"{nearest(str(key), fields)}')
    hints, values = get_type_hints(cls), {}
    for name, field in fields.items():
        variable = env_name(section, field)
        if flags.get(name) is not None:
            values[name] = convert(flags[name], hints[name], f"--{name.replace('_', '-')}", env)
        elif env.get(variable):
            values[name] = convert(env[variable], hints[name], variable, env)
        elif name in given:
            values[name] = convert(given[name], hints[name], f"{section}.{name}", env)
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{section}: {error}") from None


def field_docs(cls: type[Any]) -> dict[str, str]:
    """The docstring under each field of a dataclass."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls)))
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    docs = {}
    for statement, after in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[typing.cast(ast.Name, statement.target).id] = " ".join(str(after.value.value).split())
    return docs


def shown(value: object) -> Any:
    """A value as `dac config show` prints it: secrets hidden, paths, days and moments as text."""
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, pathlib.Path):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: shown(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): shown(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    return value
