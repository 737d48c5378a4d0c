"""Dashboards are what the script writes, ask for what there is, and can be read at 3 am."""

import json
import re
from typing import Any

import promql_parser as promql
import pytest

from testing.dashboards.__main__ import written
from testing.dashboards.board import FOLDER, WIDTH
from tests.deploy.monitoring import alerts, asked, unknown

WRITTEN = written()
BOARDS = {name: json.loads(content) for name, content in WRITTEN.items()}
PANELS = [panel for board in BOARDS.values() for panel in board["panels"]]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]


def test_they_are_what_the_script_writes():
    """`make dashboards` writes them anew."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == WRITTEN


def expressions(panel: dict[str, Any]) -> list[str]:
    """Return a panel's expressions as Grafana sends them."""
    return [
        re.sub(r"\$(instance|model)\b", ".*", target["expr"]).replace("$__rate_interval", "1m")
        for target in panel["targets"]
    ]


def test_they_ask_for_what_there_is():
    wrong = {
        panel["title"]: flaw for panel in SHOWN for line in expressions(panel)
        if (flaw := unknown(line))
    }  # fmt: skip
    assert wrong == {}


def test_each_panel_has_a_unit_a_sentence_and_a_place():
    for panel in SHOWN:
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert 0 < len(panel["targets"]) <= 4, panel["title"]
        assert "$" not in panel["title"], panel["title"]
    for name, board in BOARDS.items():
        assert len([panel for panel in board["panels"] if panel["type"] == "row"]) <= 5, name
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in board["panels"])
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells)), "panels lie on one another"
        assert max(x for x, _ in cells) < WIDTH, name


def bounds(node: Any) -> set[float]:
    """Return what an alert's expression compares with; whatever is more than nothing is one."""
    match node:
        case promql.BinaryExpr() if str(node.op) in {">", ">=", "<", "=="}:
            value = number(node.rhs)
            own = {0.5, 1.0} if value == 0 else {value} - {None}
            return own | bounds(node.lhs) | ({1.0} if value is None else set())
        case promql.BinaryExpr():
            return bounds(node.lhs) | bounds(node.rhs)
        case promql.ParenExpr() | promql.AggregateExpr():
            return bounds(node.expr)
    return set()


def number(node: Any) -> float | None:
    match node:
        case promql.NumberLiteral():
            return node.val
        case promql.BinaryExpr() if str(node.op) == "*":
            one, other = number(node.lhs), number(node.rhs)
            return other if one is None else one if other is None else one * other
    return None


def test_thresholds_are_those_of_the_alerts():
    """A red line that no alert has would be a lie."""
    for panel in SHOWN:
        (_, *steps) = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        if "links" not in panel or not steps:
            continue
        alert = panel["links"][0]["title"].removeprefix("Runbook of ")
        found = bounds(promql.parse(alerts()[alert]["expr"]))
        if alert == "LatencyBudgetBurnsFast":
            found.add(0.1)  # what counts as slow
        assert any(steps[0]["value"] == pytest.approx(one) for one in found), panel["title"]


def test_runbooks_and_variables_are_there():
    for name, board in BOARDS.items():
        variables = {variable["name"] for variable in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__rate_interval", "__all"}
        assert used <= variables, name
        for query in (variable.get("query") for variable in board["templating"]["list"]):
            if isinstance(query, dict):
                metric = query["query"].removeprefix("label_values(").rpartition(",")[0]
                assert list(asked(metric)), name
                assert unknown(metric) == [], name
