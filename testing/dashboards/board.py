"""A dashboard of Grafana: rows of panels, each with its unit, its words and its alert.

Plain dictionaries in the format that Grafana 9 and newer read. Nothing here is a setting of one
installation: the data source, the gateways and the place of the runbooks are variables.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILES = Path(__file__).parents[2] / "helm" / "stella-gateway" / "files"
FOLDER = FILES / "dashboards"
RULES = (FILES / "alerts.yml", FILES / "slos.yml")
WIDTH = 24
"""Columns of Grafana's grid."""
_HEIGHT, _NUMBER_HEIGHT = 8, 4
_TAG = "stella-gateway"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
Query = tuple[str, str]
"""An expression, and the legend of what it gives."""


class Board:
    """One dashboard, filled from the top to the bottom. `made` returns it."""

    def __init__(self, name: str, title: str, description: str, *, job: str = "gateway") -> None:
        self.name = name
        self._title = title
        self._description = description
        self._job = job
        self._models = ""
        self._panels: list[dict[str, Any]] = []
        self._x = self._y = self._row_height = 0

    def by_model(self, metric: str) -> None:
        """Let the reader choose models: those that the metric knows."""
        self._models = metric

    def row(self, title: str) -> None:
        """Begin a row: what its panels answer together."""
        self._break()
        place = {"h": 1, "w": WIDTH, "x": 0, "y": self._y}
        self._panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": place})
        self._y += 1

    def number(
        self,
        title: str,
        expression: str,
        description: str,
        *,
        unit: str,
        width: int = 4,
        **options: Any,
    ) -> None:
        """Add one number, as it is now."""
        panel = self._panel("stat", title, [(expression, "")], description, unit, **options)
        for target in panel["targets"]:
            target |= {"instant": True, "range": False}
        panel["options"] = {
            "colorMode": "background" if "alert" in options else "none",
            "graphMode": "none",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
        self._put(panel, width, _NUMBER_HEIGHT)

    def graph(
        self,
        title: str,
        *queries: Query,
        about: str,
        unit: str,
        width: int = 8,
        stacked: bool = False,
        exemplars: bool = False,
        **options: Any,
    ) -> None:
        """Add lines over time; with `alert`, its threshold is drawn and its runbook linked."""
        panel = self._panel("timeseries", title, list(queries), about, unit, **options)
        if exemplars:
            for target in panel["targets"]:
                target["exemplar"] = True
        custom: dict[str, Any] = {"fillOpacity": 10, "lineWidth": 1}
        panel["fieldConfig"]["defaults"]["custom"] = custom
        if stacked:
            custom |= {"fillOpacity": 40, "stacking": {"mode": "normal"}}
        if "alert" in options:
            custom["thresholdsStyle"] = {"mode": "dashed"}
        panel["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        self._put(panel, width, _HEIGHT)

    def made(self) -> dict[str, Any]:
        """Return the dashboard as Grafana reads it."""
        return {
            "uid": f"{_TAG}-{self.name}",
            "title": self._title,
            "description": self._description,
            "tags": [_TAG],
            "schemaVersion": 39,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "links": [_link("Other dashboards", kind="dashboards", tags=[_TAG])],
            "annotations": {"list": [_alerts_firing()]},
            "templating": {"list": self._variables()},
            "panels": self._panels,
        }

    def _variables(self) -> list[dict[str, Any]]:
        chosen = [
            _chosen("instance", f'label_values(up{{job="{self._job}"}}, instance)', "Instance")
        ]
        if self._models:
            chosen.append(_chosen("model", f"label_values({self._models}, model)", "Model"))
        source = {"name": "datasource", "label": "Data source", "type": "datasource"}
        runbooks = {
            "name": "runbooks",
            "label": "Runbooks",
            "type": "textbox",
            "description": "Where your copy of docs/runbooks can be read.",
            "query": "docs/runbooks",
            "current": {"text": "docs/runbooks", "value": "docs/runbooks"},
        }
        return [{**source, "query": "prometheus"}, *chosen, runbooks]

    def _panel(
        self,
        kind: str,
        title: str,
        queries: list[Query],
        description: str,
        unit: str,
        *,
        alert: str = "",
        threshold: float | None = None,
        decimals: int | None = None,
        ceiling: float | None = None,
        low: bool = False,
    ) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "unit": unit,
            "min": 0,
            "thresholds": _steps(threshold, low=low),
        }
        if decimals is not None:
            defaults["decimals"] = decimals
        if ceiling is not None:
            defaults["max"] = ceiling
        panel: dict[str, Any] = {
            "type": kind,
            "title": title,
            "description": description,
            "datasource": _SOURCE,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "targets": [
                {
                    "refId": chr(ord("A") + at),
                    "datasource": _SOURCE,
                    "expr": expression,
                    "legendFormat": legend or "__auto",
                    "range": True,
                }
                for at, (expression, legend) in enumerate(queries)
            ],
        }
        if alert:
            page = Path(_runbooks()[alert]).name
            panel["links"] = [_link(f"Runbook of {alert}", url=f"${{runbooks}}/{page}")]
        return panel

    def _put(self, panel: dict[str, Any], width: int, height: int) -> None:
        if self._x + width > WIDTH:
            self._break()
        panel["gridPos"] = {"h": height, "w": width, "x": self._x, "y": self._y}
        panel["id"] = len(self._panels) + 1
        self._panels.append(panel)
        self._x += width
        self._row_height = max(self._row_height, height)

    def _break(self) -> None:
        self._y += self._row_height
        self._x = self._row_height = 0


def rate_by(metric: str, by: str, **labels: str) -> str:
    """Return the expression of a counter's rate by a label, of the chosen instances."""
    return f"sum by ({by}) (rate({selected(metric, **labels)}[$__rate_interval]))"


def quantile(share: float, histogram: str, **labels: str) -> str:
    """Return the expression of a histogram's quantile, of the chosen instances."""
    buckets = selected(f"{histogram}_bucket", **labels)
    return f"histogram_quantile({share}, sum by (le) (rate({buckets}[$__rate_interval])))"


def selected(metric: str, **labels: str) -> str:
    """Return a metric of the chosen instances; a value that begins with ~ is a pattern."""
    chosen = ['instance=~"$instance"']
    for name, value in labels.items():
        chosen.append(f'{name}=~"{value[1:]}"' if value.startswith("~") else f'{name}="{value}"')
    return f"{metric}{{{', '.join(chosen)}}}"


def _steps(threshold: float | None, *, low: bool) -> dict[str, Any]:
    below, above = ("red", "green") if low else ("green", "red")
    steps: list[dict[str, Any]] = [{"color": below, "value": None}]
    if threshold is not None:
        steps.append({"color": above, "value": threshold})
    return {"mode": "absolute", "steps": steps}


def _chosen(name: str, query: str, label: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # when the time changes
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _link(title: str, *, kind: str = "link", **options: Any) -> dict[str, Any]:
    told = {"title": title, "type": kind, "targetBlank": kind == "link"}
    if kind == "dashboards":
        told |= {"asDropdown": True, "includeVars": True, "keepTime": True}
    return told | options


def _alerts_firing() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing", severity="critical"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{model}}",
        "step": "60s",
    }


@cache
def _runbooks() -> dict[str, str]:
    """Return the runbook of each alert, read once: YAML is slow to read."""
    return {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
