"""Logs hold no secret and no customer's text, whatever goes wrong."""

import json
import logging as stdlib
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backends import spans
from gateway.observability import logging
from testing.gateways import MODEL, MONITORING, Api, open_api
from testing.processes import Process

TEXT = "what-a-customer-wrote"


@pytest.mark.parametrize("form", ["json", "console"])
async def test_nothing_is_leaked(
    api: Api, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form
):
    logging.configure(form)

    async def explode(*_args, **_options):
        secret_in_a_variable = f"{TEXT} {api.ledger.secret}"
        raise RuntimeError(f"it broke with {secret_in_a_variable[-50:]}")

    monkeypatch.setattr(api.gateway.core.router, "dispatch", explode)
    answer = await api.embed(input=TEXT)
    assert answer.status_code == 500
    assert TEXT not in answer.text
    await api.embed(input=[TEXT, ""])
    await api.embed(model=TEXT)
    await api.http.get(f"/v1/{TEXT}")
    logged = capfd.readouterr().err
    assert "RuntimeError: it broke with" in logged  # the trace is there
    assert "sk-***" in logged
    assert api.ledger.secret not in logged
    assert TEXT not in logged
    await api.assert_untouched()


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines() if line[:1] == "{"]


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", ["debug", "info", "warning", "error", "library"]),
        ("info", ["info", "warning", "error", "library"]),
        ("warning", ["warning", "error", "library"]),
        ("error", ["error"]),
    ],
)
def test_a_level_is_the_least_of_what_is_logged(
    capfd: pytest.CaptureFixture[str], level: logging.Level, logged: list[str]
):
    logging.configure("json", level)
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    library = stdlib.getLogger("aiosqlite")
    library.info("select %s", TEXT)
    library.warning("library")
    assert [line["event"] for line in lines(capfd)] == logged


@pytest.mark.parametrize(
    ("access", "statuses"), [("off", []), ("errors", [500]), ("all", [200, 400, 401, 500, 404])]
)
async def test_an_access_log_names_routes_never_what_was_sent(
    sqlite_database_url: list[str],
    fake_worker: Process,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    access: str,
    statuses: list[int],
):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, access_log=access) as api:
        await api.ready()
        capfd.readouterr()
        answers = [await api.embed(), await api.embed(input=[TEXT, ""])]
        answers.append(await api.http.post(f"/v1/embeddings?{TEXT}", headers={"user-agent": TEXT}))
        monkeypatch.setattr(api.gateway.core.router, "dispatch", None)
        answers.append(await api.embed(input=TEXT))
        answers.append(await api.http.get(f"/v1/models/{TEXT}?key={TEXT}", headers=api.headers))
        found = [line for line in lines(capfd) if line["event"] == "answered"]
    assert [line["status"] for line in found] == statuses
    asked = {answer.headers["x-request-id"]: answer.status_code for answer in answers}
    for line in found:
        assert asked[line["request"]] == line["status"]
        assert TEXT not in str(line)
        assert line["route"] in {"/v1/embeddings", "/v1/models/{model_id}"}


async def test_lines_of_a_request_have_its_id_and_its_trace(
    sqlite_database_url: list[str],
    fake_worker: Process,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")
    monkeypatch.setattr(spans, "OTLPSpanExporter", InMemorySpanExporter)
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, access_log="all") as api:
        await api.ready()
        monkeypatch.setattr(api.gateway.core.router, "dispatch", None)
        answer = await api.embed(input=TEXT)
        text = (await api.monitored("/metrics")).text
        accepts = MONITORING | {"accept": "application/openmetrics-text"}
        shown = (await api.http.get("/metrics", headers=accepts)).text
    found = [line for line in lines(capfd) if line.get("request") == answer.headers["x-request-id"]]
    assert [line["event"] for line in found] == ["request failed", "answered"]
    (trace,) = {line["trace"] for line in found}
    assert f'# {{trace_id="{trace}"}}' in shown
    assert "# {" not in text, "only OpenMetrics has exemplars"
