"""The files that boards and rules become, and which of those in a folder are not what they should be."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from mesh.boards.alerts import rules
from mesh.boards.cost import cost
from mesh.boards.edge import edge
from mesh.boards.models import models
from mesh.boards.overview import overview
from mesh.boards.routing import routing
from mesh.boards.tenants import tenants

BOARDS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "overview": overview,
    "cost": cost,
    "models": models,
    "tenants": tenants,
    "routing": routing,
    "edge": edge,
}
"""name of the file → what makes it."""
HEADER = "# Made by `python -m mesh.boards deploy` from mesh/boards/alerts.py: edit that, not this file.\n"


def files() -> dict[str, str]:
    """Path below the folder → text."""
    made = {
        f"grafana/{name}.json": json.dumps(build(), indent=1, ensure_ascii=False) + "\n"
        for name, build in BOARDS.items()
    }
    made["prometheus/rules.yaml"] = HEADER + yaml.safe_dump(
        rules(), sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=False
    )
    return made
