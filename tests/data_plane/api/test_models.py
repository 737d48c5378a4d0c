"""GET /v1/models and what stands around it: health, metrics, and errors of the framework."""

import msgspec
import pytest
from msgspec import structs

from gateway.control_plane.catalog import cards
from gateway.data_plane.api import models
from gateway.data_plane.api.model_entries import ModelEntry, entry
from gateway.data_plane.api.models import PAGE_MODELS_MAX
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot
from testing import marketplace
from testing.gateways import MODEL, STELLA, Api
from testing.processes import Process


async def test_the_list_shows_what_a_developer_must_know(api: Api):
    answer = await api.http.get("/v1/models")
    body = answer.json()
    assert body["object"] == "list"
    by_id = {model["id"]: model for model in body["data"]}
    assert {MODEL, STELLA} < set(by_id)
    assert set(by_id) == {model.id for model in cards.reviewed()}
    assert body["data"][0]["id"] == MODEL  # what can be called comes first
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


async def test_its_pages_hold_every_model_once(api: Api):
    await marketplace.fill_catalog(api.gateway.core.database, 300)
    await api.gateway.core.catalog.refresh()
    found: list[str] = []
    after, has_more = {}, True
    while has_more:
        page = (await api.http.get("/v1/models", params=after)).json()
        ids = [model["id"] for model in page["data"]]
        assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
        found += ids
        after, has_more = {"after": ids[-1]}, page["has_more"]
        assert len(ids) == PAGE_MODELS_MAX or not has_more
    every = len(cards.reviewed()) + 300
    assert (found[0], len(found), len(set(found))) == (MODEL, every, every)
    assert found[1:] == sorted(found[1:])


def test_a_page_of_ten_thousand_models_is_encoded_alone(monkeypatch: pytest.MonkeyPatch):
    one = ModelSnapshot(
        id="lab/0", state="coming_soon", price=PriceSnapshot("p", 1), dimensions=(8,),
        dimensions_default=8, tokens_max=9,
    )  # fmt: skip
    named = {f"lab/{n:05}": structs.replace(one, id=f"lab/{n:05}") for n in range(10_000)}
    catalog = Catalog(named)
    encoded: list[str] = []

    def noted(model: ModelSnapshot) -> ModelEntry:
        encoded.append(model.id)
        return entry(model)

    monkeypatch.setattr(models, "entry", noted)
    listed = models.Listed(lambda: catalog)
    first = listed.page(None, PAGE_MODELS_MAX)
    assert listed.page(None, PAGE_MODELS_MAX) is first
    page = msgspec.json.decode(listed.page("lab/05000", 2))
    assert [model["id"] for model in page["data"]] == ["lab/05001", "lab/05002"]
    assert len(encoded) == PAGE_MODELS_MAX + 2


async def test_a_page_is_as_long_as_one_asks(api: Api):
    short = (await api.http.get("/v1/models?limit=2")).json()
    assert (len(short["data"]), short["has_more"]) == (2, True)
    (rest,) = [(await api.http.get(f"/v1/models?after={short['last_id']}")).json()]
    assert len(rest["data"]) == len(cards.reviewed()) - 2
    assert rest["has_more"] is False
    last = (await api.http.get(f"/v1/models?after={rest['last_id']}")).json()
    assert (last["data"], last["first_id"], last["has_more"]) == ([], None, False)
    for wrong in ("limit=0", "limit=201", "limit=x"):
        assert (await api.http.get(f"/v1/models?{wrong}")).status_code == 400
    lost = await api.http.get("/v1/models?after=none/such")
    assert (lost.status_code, lost.json()["error"]["param"]) == (400, "after")


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
    workers = {model.id: int(model.id == MODEL) for model in cards.reviewed()}
    assert (ready.status_code, ready.json()) == (
        200,
        {
            "status": "ready",
            "reasons": [],
            "ready_workers": workers,
        },
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
