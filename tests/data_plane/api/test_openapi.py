"""The OpenAPI document, held against the running gateway by schemathesis."""

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from gateway.control_plane.billing.api import OPERATIONS
from gateway.control_plane.pages.storefront import status_feeds
from gateway.control_plane.receipts.api import RECEIPT_OPERATIONS
from gateway.data_plane.api.openapi import REPLAY, document
from testing.gateways import MODEL, open_api

DOCUMENT = document(
    "http://gateway", "0", (*OPERATIONS, *RECEIPT_OPERATIONS, status_feeds.OPERATION)
)
schema = schemathesis.openapi.from_dict(msgspec.to_builtins(DOCUMENT))


# not `schema.parametrize()`: its tests share one id, and pytest-xdist runs one of them for all
@pytest.mark.parametrize(
    "operation", [found.ok() for found in schema.get_all_operations()], ids=lambda one: one.label
)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_no_undocumented_answer(operation, data: st.DataObject, served: tuple[str, str]):
    """Every answer has a documented status, type and shape, and none is a 5xx."""
    url, secret = served
    mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    if isinstance(case.body, dict) and "model" in case.body and data.draw(st.booleans()):
        case.body["model"] = MODEL  # or nearly every request would end at an unknown model
    case.call_and_validate(
        base_url=url,
        headers={"authorization": f"Bearer {secret}"},
        excluded_checks=[
            positive_data_acceptance,  # what dimensions and prompts a model has is in no schema
            ignored_auth,  # it takes the header that this call adds for one that was left out
        ],
    )


async def test_it_is_served(sqlite_database_url: list[str]):
    async with open_api(sqlite_database_url[0], role="control") as api:
        answer = await api.http.get("/openapi.json")
    assert answer.status_code == 200
    assert set(answer.json()["paths"]) == set(DOCUMENT["paths"])


async def test_what_it_says_of_headers_is_sent(api):
    """On a 200 and on an error, with no more of them than the document promises."""
    paths = DOCUMENT["paths"]
    for path in ("/v1/embeddings", "/v1/embeddings/estimate"):
        body = {"model": MODEL, "input": "hello"}
        answer = await api.http.post(path, json=body, headers=api.headers)
        promised = paths[path]["post"]["responses"]["200"]["headers"].keys()
        assert promised - REPLAY.keys() <= answer.headers.keys()
        assert answer.headers["x-ratelimit-limit-requests"] == "512"
        assert answer.headers["x-ratelimit-remaining-requests"] == "512"
        limits = {name for name in answer.headers if name.startswith("x-ratelimit")}
        assert limits <= promised


@pytest.mark.parametrize("path", ["/v1/receipts/key", "/v1/receipts/roots"])
async def test_what_checks_receipts_is_public_and_described(api, path: str):
    answer = await api.http.get(path)
    assert answer.status_code == 200
    described = DOCUMENT["paths"][path]["get"]["responses"]["200"]
    assert described["headers"].keys() <= answer.headers.keys()
