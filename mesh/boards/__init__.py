"""Grafana's boards and Prometheus' alert rules, written as code from the names in mesh.telemetry.

`python -m mesh.boards deploy` writes `grafana/*.json` and `prometheus/rules.yaml` into that folder; with `--check` it
says what there is stale. Nothing here runs in a serving process.
"""
