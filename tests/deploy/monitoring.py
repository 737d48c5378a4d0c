"""What rules and dashboards ask of Prometheus, and what there is to be asked for."""

import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import yaml
from prometheus_client.parser import text_string_to_metric_families

from backends.stella.metrics import Metrics
from testing.dashboards.board import RULES

TOP = Path(__file__).parents[2]
METRICS = TOP / "docs" / "metrics.md"
RUNBOOKS = TOP / "docs" / "runbooks"
TARGET = {"instance", "job"}
"""Labels that Prometheus adds to whatever it scrapes."""
_ROW = re.compile(r"^\| `((?:gateway|stella)_\w+)` \| (\w+) \| ([\w, ]*?) ?\|", re.MULTILINE)
_OF_EACH_PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}


class Asked(NamedTuple):
    """A metric in an expression, and the labels that it must have."""

    name: str
    equal: dict[str, str]
    labels: set[str]


@cache
def rules() -> list[dict[str, Any]]:
    """Return each rule that alerts or records."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """Return the rules that alert, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool() -> str:
    """Return where promtool is."""
    found = shutil.which("promtool")
    assert found, "promtool is missing: apt-get install --no-install-recommends prometheus"
    return found


@cache
def known() -> dict[str, set[str]]:
    """Return the labels of each series that there is."""
    found: dict[str, set[str]] = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}
    for name, kind, labels in _ROW.findall(METRICS.read_text()):
        own = set(labels.split(", ")) - {""}
        if kind == "histogram":
            found |= {f"{name}_bucket": own | {"le"}, f"{name}_sum": own, f"{name}_count": own}
        else:
            found[name] = own
    found |= {name: set() for name in _OF_EACH_PROCESS}
    return found | {rule["record"]: set() for rule in rules() if "record" in rule}


def asked(expression: str) -> Iterator[Asked]:
    """Return the metrics of an expression. Raises ValueError if it can't be parsed."""
    yield from _asked(promql.parse(expression), frozenset())


def _asked(node: Any, grouped: frozenset[str]) -> Iterator[Asked]:
    match node:
        case promql.VectorSelector():
            matchers = node.matchers.matchers
            equal = {m.name: m.value for m in matchers if m.op == promql.MatchOp.Equal}
            yield Asked(node.name, equal, {m.name for m in matchers} | grouped)
        case promql.MatrixSelector():
            yield from _asked(node.vector_selector, grouped)
        case promql.AggregateExpr():
            by = node.modifier.labels if node.modifier else []
            yield from _asked(node.expr, frozenset(by))
        case promql.BinaryExpr():
            yield from _asked(node.lhs, grouped)
            yield from _asked(node.rhs, grouped)
        case promql.Call():
            for argument in node.args:
                yield from _asked(argument, grouped)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _asked(node.expr, grouped)


def unknown(expression: str) -> list[str]:
    """Return what an expression asks for and nothing exposes."""
    wrong = []
    for found in asked(expression):
        if found.name not in known():
            wrong.append(found.name)
        elif extra := found.labels - known()[found.name] - TARGET:
            wrong.append(f"{found.name} by {', '.join(sorted(extra))}")
    return wrong


def worker_metrics() -> dict[str, tuple[str, str, str]]:
    """Return kind, labels and meaning of each metric of a Stella worker."""
    metrics = Metrics()
    metrics.request("/embed", 200)
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            ", ".join(label for label in family.samples[0].labels if label != "le"),
            family.documentation,
        )
        for family in families
        if family.name.startswith("stella_") and not family.name.endswith("_created")
    }
