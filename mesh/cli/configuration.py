"""`dac config`: check it, show it, and write its documentation."""

import pathlib
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Failure
from mesh.cli.output import AsJson, command, counted, note, print_json

app = typer.Typer(help="The configuration: check, show, docs.", no_args_is_help=True)
Config = Annotated[pathlib.Path | None, typer.Option("--config", help="A YAML file or folder (also DAC_CONFIG).")]


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="config")


def as_document(settings: Any) -> dict[str, Any]:
    """Settings as the document that would give them; secrets as ***."""
    from mesh.app import RELOADED
    from mesh.config import shown

    document = {"mesh": shown(settings.mesh)}
    document.update({name: shown(section) for name, section in settings.services.items()})
    document["providers"] = {
        entry.provider: {key: value for key, value in shown(entry).items() if key != "provider"}
        for entry in settings.providers
    }
    document["models"] = [
        {key: value for key, value in shown(entry).items() if key != "aliases"} for entry in settings.models
    ]
    if settings.documents is not None:
        shipped, own = settings.documents.read(*RELOADED)
        document.update({name: {**(shipped[name] or {}), **(own[name] or {})} for name in RELOADED})
    document["aliases"] = {alias: entry.model for entry in settings.models for alias in entry.aliases}
    return document


@command(app, "check")
def check(config: Config = None, as_json: AsJson = False) -> None:
    """Check the configuration without starting anything; exit code 2 when it is wrong.

    Example: dac config check --config dac.yaml
    """
    from mesh.app import check_reloaded, load_settings
    from mesh.errors import MeshError
    from mesh.variables import in_words

    try:
        settings = load_settings(config)
        check_reloaded(settings)
    except MeshError as error:
        if not as_json:
            raise Failure(error.message, USAGE) from None
        print_json({"valid": False, "error": error.message})
        raise typer.Exit(USAGE) from None
    unset = [{"place": place, "variable": name} for place, name in settings.unset]
    unknown = [{"variable": name, "nearest": near} for name, near in settings.unknown]
    counts = {"providers": len(settings.providers), "models": len(settings.models)}
    if as_json:
        print_json({"valid": True, "source": settings.source, **counts, "unset": unset, "unknown": unknown})
    else:
        sizes = [counted(counts["providers"], "provider"), counted(counts["models"], "model")]
        print(f"{settings.source}: valid; {', '.join(sizes)}")
        for place, name in settings.unset:
            note(f"{place}: {name} is not set")
        for name, near in settings.unknown:
            note(in_words(name, near))


@command(app, "show")
def show(config: Config = None, as_json: AsJson = False) -> None:
    """Show the configuration in force: flags, environment, file and defaults together; secrets hidden.

    Example: dac config show | less
    """
    import yaml

    from mesh.app import load_settings

    settings = load_settings(config)
    document = as_document(settings)
    if as_json:
        print_json({"source": settings.source, **document})
        return
    print(f"# source: {settings.source}, then the environment")
    print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), end="")


@command(app, "docs")
def docs(
    output: Annotated[pathlib.Path, typer.Option("--output", help="Where to write it.")] = pathlib.Path(
        "docs/configuration.md"
    ),
) -> None:
    """Write the page about the configuration from the code.

    Example: dac config docs
    """
    from mesh.configuration_page import page

    try:
        output.write_text(page(), encoding="utf-8")
    except OSError as error:
        raise Failure(f"{output} cannot be written ({error.strerror}): name another with --output") from None
    note(f"wrote {output}")
