"""GET /v1/models and what stands around it: health, metrics, and errors of the framework."""

import pytest

from testing.gateways import MODEL, STELLA, Api
from testing.processes import Process


async def test_the_list_shows_what_a_developer_must_know(api: Api):
    answer = await api.http.get("/v1/models")
    body = answer.json()
    assert body["object"] == "list"
    by_id = {model["id"]: model for model in body["data"]}
    assert set(by_id) == {MODEL, STELLA}
    stella = by_id[STELLA]
    assert stella["object"] == "model"
    assert stella["state"] == "coming_soon"
    assert stella["price"] == {
        "nanos_per_million_tokens": "8000000",
        "dollars_per_million_tokens": "0.008000000",
    }
    assert stella["dimensions_derived"] == {"512": 1024}
    assert (stella["dimensions_default"], stella["tokens_max"]) == (1024, 512)
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", [STELLA, STELLA.replace("/", "%2F")])
async def test_one_model_by_its_id_however_its_slash_is_written(api: Api, path: str):
    answer = await api.http.get(f"/v1/models/{path}")
    assert answer.status_code == 200
    assert answer.json()["id"] == STELLA


async def test_an_unknown_model_is_404(api: Api):
    answer = await api.http.get("/v1/models/none/such")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


async def test_public_but_a_key_that_is_sent_is_checked(api: Api):
    good = await api.http.get("/v1/models", headers=api.headers)
    assert good.status_code == 200
    bad = await api.http.get("/v1/models", headers={"authorization": "Bearer sk-nope"})
    assert bad.status_code == 401


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions", "/v1/models/"])
async def test_errors_of_the_framework_have_the_envelope(api: Api, path: str):
    answer = await api.http.get(path)
    if path != "/v1/models/":
        assert answer.status_code == 404
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"]


async def test_405_says_what_is_allowed(api: Api):
    answer = await api.http.delete(f"/v1/models/{STELLA}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_health(api: Api):
    for path in ("/health/live", "/health"):  # load tools ask for the second, as engines have it
        assert (await api.http.get(path)).json() == {"status": "live"}
    await api.ready()
    ready = await api.monitored("/health/ready")
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ready", "reasons": [], "ready_workers": {MODEL: 1, STELLA: 0}},
    )


async def test_metrics_count_requests_and_tokens(api: Api):
    await api.embed(input="hello world")
    text = (await api.monitored("/metrics")).text
    assert 'gateway_requests_total{path="/v1/embeddings",status="200"}' in text
    assert f'gateway_tokens_total{{model="{MODEL}"}}' in text


async def test_metrics_tell_how_the_ledger_and_the_journal_are(api: Api):
    assert (await api.embed()).status_code == 200
    text = (await api.monitored("/metrics")).text
    for name in (
        "gateway_ledger_away_seconds", "gateway_ledger_refused_organizations",
        "gateway_ledger_refusals_total", "gateway_ledger_written_off_requests_total",
        "gateway_journal_bytes", "gateway_journal_failures_total", "gateway_free_requests_total",
    ):  # fmt: skip
        assert f"\n{name} 0.0" in text or name == "gateway_ledger_away_seconds"
    assert "\ngateway_ledger_unconfirmed_requests " in text


async def test_metrics_describe_the_pools_and_the_workers(api: Api, fake_worker: Process):
    await api.embed(input="hello world")
    text = (await api.monitored("/metrics")).text
    worker = f'model="{MODEL}",url="{fake_worker.url}"'
    place = worker.replace(",", ',state="ready",')
    assert f"gateway_worker_state{{{place}}} 1.0" in text
    assert f"gateway_worker_slowdown{{{worker}}} " in text
    assert f'gateway_queue_tokens{{model="{MODEL}"}} 0.0' in text
    assert f'gateway_backlog_seconds{{model="{MODEL}"}} 0.0' in text
    assert f'gateway_routing_events_total{{event="served",model="{MODEL}"}} 1.0' in text
    assert "gateway_overhead_seconds_bucket" in text
