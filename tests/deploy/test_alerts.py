"""Each alert fires when it should and is quiet when not, and somebody wrote down what to do."""

import subprocess
from pathlib import Path

import pytest
import yaml

from testing.dashboards.board import RULES
from tests.deploy.monitoring import METRICS, RUNBOOKS, TOP, alerts, promtool, rules, unknown
from tests.deploy.monitoring import worker_metrics as metrics_of_a_worker

UNIT_TESTS = sorted((Path(__file__).parent / "alerts").glob("*.yml"))


def checked(*arguments: str) -> str:
    run = subprocess.run([promtool(), *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_prometheus_takes_the_rules():
    checked("check", "rules", *map(str, RULES))


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_are_quiet(path: Path):
    checked("test", "rules", str(path))


def test_each_alert_is_tested_both_ways():
    firing, quiet = set(), set()
    for path in UNIT_TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for asked in test.get("alert_rule_test", []):
                (firing if asked["exp_alerts"] else quiet).add(asked["alertname"])
    assert firing == quiet == set(alerts())


def test_rules_ask_for_what_there_is():
    assert [wrong for rule in rules() for wrong in unknown(rule["expr"])] == []


def test_each_alert_says_how_bad_it_is_for_whom_and_where_to_look():
    pages = set()
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert len(rule["annotations"]["summary"]) > 40, name
        page = TOP / rule["annotations"]["runbook_url"]
        assert page.is_file(), name
        assert page.parent == RUNBOOKS, name
        assert f"# {name}" in page.read_text() or f"`{name}`" in page.read_text(), name
        pages.add(page)
    assert pages == set(RUNBOOKS.glob("*.md")) - {RUNBOOKS / "README.md"}


def test_the_metrics_of_a_worker_are_documented():
    text = METRICS.read_text()
    for name, (kind, labels, meaning) in metrics_of_a_worker().items():
        assert f"| `{name}` | {kind} | {labels} | {meaning} |" in text


def test_compose_scrapes_what_the_alerts_look_for():
    scraped = yaml.safe_load((TOP / "docker" / "prometheus" / "prometheus.yml").read_text())
    assert {job["job_name"] for job in scraped["scrape_configs"]} == {"gateway", "worker"}
