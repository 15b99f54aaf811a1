"""`dac up`, `dac serve`, `dac migrate`, `dac status`: running DAC."""

import json
import os
import pathlib
import sys
from typing import Annotated, Any

import typer

Config = Annotated[pathlib.Path | None, typer.Option("--config", help="A YAML file or folder (also DAC_CONFIG).")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(up)
    app.command()(serve)
    app.command()(migrate)
    app.command()(status)


def _settings(config: pathlib.Path | None, flags: dict[str, dict[str, Any]], env: dict[str, str]) -> Any:
    from mesh.app import load_settings
    from mesh.errors import MeshError

    try:
        return load_settings(config, env=env, flags=flags)
    except MeshError as error:
        print(f"error: {error.message}", file=sys.stderr)
        raise typer.Exit(2) from None


def up(
    config: Config = None,
    split: Annotated[bool, typer.Option("--split", help="One process per service.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Edge processes on one port.")] = 1,
    http_port: Annotated[int | None, typer.Option("--http-port", help="Port for HTTP (8000).")] = None,
    grpc_port: Annotated[int | None, typer.Option("--grpc-port", help="Port for gRPC callers (50051).")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to serve on (127.0.0.1).")] = None,
    data_dir: Annotated[pathlib.Path | None, typer.Option("--data-dir", help="Folder for all data (./data).")] = None,
    auth: Annotated[str | None, typer.Option("--auth", help='"off" serves callers without a key, on loopback.')] = None,
) -> None:
    """Start everything: database, services, the embedded model.

    Example: dac up --http-port 8080
    """
    from mesh.announcement import announce, find_ollama
    from mesh.launcher import Launcher, run_in_loop

    env = dict(os.environ)
    find_ollama(env)
    gateway = {"http_port": http_port, "grpc_port": grpc_port, "http_host": host, "grpc_host": host, "auth": auth}
    flags: dict[str, dict[str, Any]] = {"gateway": gateway, "mesh": {"data_dir": data_dir}}
    settings = _settings(config, flags, env)
    if config is not None:
        env["DAC_CONFIG"] = str(config.absolute())
    names = {
        "http_port": "DAC_HTTP_PORT",
        "grpc_port": "DAC_GRPC_PORT",
        "http_host": "DAC_HTTP_HOST",
        "grpc_host": "DAC_GRPC_HOST",
        "auth": "DAC_AUTH",
    }
    env.update({names[field]: str(value) for field, value in gateway.items() if value is not None})

    async def main() -> int:
        launcher = Launcher(settings, split=split, workers=workers, say=_say, env=env)
        return await launcher.run(lambda ready: announce(ready, env))

    raise typer.Exit(run_in_loop(main, settings, "up"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def serve(
    target: Annotated[
        str, typer.Option("--target", help="Services to run here, e.g. router,provider; or all.")
    ] = "all",
    config: Config = None,
) -> None:
    """Run some services in this process (a cluster's pods do this).

    Example: dac serve --target=gateway,router,provider
    """
    from mesh.app import TARGETS
    from mesh.launcher import run_in_loop
    from mesh.launcher import serve as serve_targets

    settings = _settings(config, {}, dict(os.environ))
    names = list(TARGETS) if target == "all" else [name.strip() for name in target.split(",") if name.strip()]
    raise typer.Exit(run_in_loop(lambda: serve_targets(settings, names), settings, target))


def migrate(config: Config = None) -> None:
    """Bring the database of DATABASE_URL up to date, then exit.

    Example: DATABASE_OWNER_URL=postgresql://owner@db/dac dac migrate
    """
    import asyncio

    from mesh.app import TARGETS
    from mesh.errors import MeshError
    from mesh.launcher import check_database_url, login_of
    from mesh.migrate import migrate as run_migrations

    settings = _settings(config, {}, dict(os.environ))
    url = settings.mesh.database_owner_url or settings.mesh.database_url
    if url is None:
        print("the embedded database is migrated by `dac up`; set DATABASE_URL to migrate your own", file=sys.stderr)
        raise typer.Exit(2)
    try:
        check_database_url(url)
        folders = {name: target.migrations for name, target in TARGETS.items()}
        login = login_of(settings.mesh.database_url or url)
        asyncio.run(run_migrations(url.reveal(), folders, None, runtime_login=login))
    except MeshError as error:
        print(f"error: {error.message}", file=sys.stderr)
        raise typer.Exit(1) from None
    print("the database is up to date", file=sys.stderr)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")] = False,
    data_dir: Annotated[pathlib.Path | None, typer.Option("--data-dir", help="Folder for all data (./data).")] = None,
) -> None:
    """Show what `dac up` runs here: services, process ids, states.

    Example: dac status --json
    """
    from mesh.cli.doctor import check_embedder

    folder = data_dir or pathlib.Path(os.environ.get("DAC_DATA_DIR", "data"))
    try:
        state = json.loads((folder / "state.json").read_text())
        os.kill(int(state["pid"]), 0)
    except (OSError, ValueError, KeyError):
        state = {"services": []}
    for row in state["services"]:
        if row["pid"] and not pathlib.Path(f"/proc/{row['pid']}").exists() and sys.platform == "linux":
            row["state"] = "dead"
    if as_json:
        print(json.dumps({"services": state["services"]}))
    elif not state["services"]:
        print(f"nothing runs in {folder}: start it with `dac up`")
    else:
        for row in state["services"]:
            print(f"{row['name']:<10} {row['state']:<11} pid {row['pid']:<8} {row['target']}")
        for one in check_embedder(None):
            if not one.ok:
                print(f"embedder: {one.detail}: searches of memory find words, not meanings", file=sys.stderr)
    raise typer.Exit(0 if state["services"] else 3)
