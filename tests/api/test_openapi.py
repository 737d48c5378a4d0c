"""The OpenAPI document, held against the running gateway by schemathesis."""

import msgspec
import schemathesis
from hypothesis import HealthCheck, settings

from gateway.data_plane.api.openapi import document

DOCUMENT = document("http://gateway", "0")
schema = schemathesis.openapi.from_dict(msgspec.to_builtins(DOCUMENT))


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
def test_no_undocumented_answer(case: schemathesis.Case, served: tuple[str, str]):
    """Every answer has a documented status, type and shape, and none is a 5xx."""
    url, secret = served
    case.call_and_validate(base_url=url, headers={"authorization": f"Bearer {secret}"})


async def test_it_is_served(api):
    answer = await api.http.get("/openapi.json")
    assert answer.status_code == 200
    assert set(answer.json()["paths"]) == set(DOCUMENT["paths"])
