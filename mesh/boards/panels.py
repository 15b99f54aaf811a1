"""Panels and boards as Grafana reads them: plain dicts, in the schema that Grafana 10 to 12 import."""

from collections.abc import Iterable, Sequence
from typing import Any

SCHEMA_VERSION = 39
GRID = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "dac"

Panel = dict[str, Any]
Query = tuple[str, str]
"""An expression and its legend."""


def _panel(
    kind: str,
    title: str,
    about: str,
    queries: Sequence[Query],
    unit: str,
    *,
    options: dict[str, Any],
    custom: dict[str, Any] | None = None,
    instant: bool = False,
    thresholds: Sequence[tuple[float, str]] = (),
    **defaults: Any,
) -> Panel:
    steps = [{"color": "green", "value": None}, *({"color": color, "value": value} for value, color in thresholds)]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "custom": custom or {},
                "color": {"mode": "thresholds" if thresholds else "palette-classic"},
                "thresholds": {"mode": "absolute", "steps": steps},
                **defaults,
            },
            "overrides": [],
        },
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
                "format": "table" if kind == "table" else "time_series",
            }
            for number, (expression, legend) in enumerate(queries)
        ],
    }


def graph(title: str, about: str, unit: str, *queries: Query, stacked: bool = False, **defaults: Any) -> Panel:
    """Lines over time."""
    return _panel(
        "timeseries",
        title,
        about,
        queries,
        unit,
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        custom={
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        },
        min=0,
        **defaults,
    )


def figure(
    title: str, about: str, unit: str, expression: str, *, bad_from: Sequence[tuple[float, str]] = (), **defaults: Any
) -> Panel:
    """One number with its course behind it."""
    return _panel(
        "stat",
        title,
        about,
        [(expression, "")],
        unit,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "graphMode": "area",
            "colorMode": "value",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
        },
        thresholds=bad_from,
        **defaults,
    )


def bars(title: str, about: str, unit: str, expression: str, legend: str) -> Panel:
    """One bar for each series, the longest first, over the whole time shown."""
    return _panel(
        "bargauge",
        title,
        about,
        [(f"sort_desc({expression})", legend)],
        unit,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal",
            "displayMode": "basic",
            "showUnfilled": True,
            "valueMode": "color",
        },
        instant=True,
        min=0,
    )


def table(title: str, about: str, key: str, *columns: tuple[str, str, str]) -> Panel:
    """One line for each value of the label `key`; a column is its heading, its unit and its expression."""
    made = _panel(
        "table",
        title,
        about,
        [(expression, heading) for heading, _, expression in columns],
        "short",
        options={"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
        instant=True,
    )
    letters = [target["refId"] for target in made["targets"]]
    names = {f"Value #{letter}": heading for letter, (heading, _, _) in zip(letters, columns, strict=True)}
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
        {"id": "sortBy", "options": {"sort": [{"field": columns[0][0], "desc": True}]}},
    ]
    made["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": heading}, "properties": [{"id": "unit", "value": unit}]}
        for heading, unit, _ in columns
    ] + [
        {
            "matcher": {"id": "byName", "options": key},
            "properties": [{"id": "custom.filterable", "value": True}],
        }
    ]
    return made


def states(title: str, about: str, expression: str, legend: str, names: dict[float, tuple[str, str]]) -> Panel:
    """What state each series was in over time; `names` gives a value its word and colour."""
    words = {
        f"{value:g}": {"text": text, "color": color, "index": at}
        for at, (value, (text, color)) in enumerate(names.items())
    }
    return _panel(
        "state-timeline",
        title,
        about,
        [(expression, legend)],
        "short",
        options={
            "mergeValues": True,
            "showValue": "never",
            "rowHeight": 0.8,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "single"},
        },
        custom={"fillOpacity": 70, "lineWidth": 0},
        mappings=[{"type": "value", "options": words}],
    )


def _query_variable(name: str, label: str, metric: str) -> dict[str, Any]:
    question = f"label_values({metric}, {name.removeprefix('envoy_')})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": question,
        "query": {"query": question, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }


DATA_SOURCE = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "includeAll": False,
    "multi": False,
    "current": {},
    "hide": 0,
}
JOB = _query_variable("job", "Job", "dac_build_info")
INSTANCE = _query_variable("instance", "Instance", 'dac_build_info{job=~"$job"}')
ENVOY_JOB = _query_variable("envoy_job", "Envoy's job", "envoy_server_live")
TOP = {
    "name": "top",
    "label": "Show the first",
    "type": "custom",
    "query": "5,10,20,50",
    "options": [{"text": one, "value": one, "selected": one == "10"} for one in ("5", "10", "20", "50")],
    "includeAll": False,
    "multi": False,
    "current": {"text": "10", "value": "10"},
    "hide": 0,
}


def board(
    uid: str, title: str, about: str, rows: Iterable[tuple[str, int, Sequence[Panel]]], *more_variables: dict[str, Any]
) -> dict[str, Any]:
    """A whole board. A row has a heading, a height and panels that share its width."""
    panels: list[Panel] = []
    y = 0
    for heading, height, row in rows:
        if heading:
            panels.append({"type": "row", "title": heading, "collapsed": False, "panels": []})
            panels[-1]["gridPos"] = {"x": 0, "y": y, "w": GRID, "h": 1}
            y += 1
        for number, panel in enumerate(row):
            left, right = GRID * number // len(row), GRID * (number + 1) // len(row)
            panels.append({**panel, "gridPos": {"x": left, "y": y, "w": right - left, "h": height}})
        y += height
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "id": None,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "DAC",
                "tags": [TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "The other boards, same time",
                "url": "",
            }
        ],
        "templating": {"list": [DATA_SOURCE, JOB, INSTANCE, *more_variables]},
        "panels": panels,
    }
