"""404: no such model, or none that is served."""

import re

import pytest
from sqlalchemy import update

from gateway.storage.tables import models
from testing.gateways import MODEL, STELLA, Api
from tests.data_plane.api.embeddings.conftest import BODY, code


async def test_404_for_an_unknown_model(api: Api):
    answer = await api.embed(model="gpt-5")
    assert (answer.status_code, code(answer)) == (404, "model_not_found")
    assert answer.json()["error"]["param"] == "model"
    assert answer.json()["error"]["message"].endswith("/ask?model=gpt-5")


@pytest.mark.parametrize("name", ["text-embedding-3-small", "openai/text-embedding-ada-002"])
async def test_404_for_a_model_of_openais_leads_to_the_guide(api: Api, name: str):
    answer = await api.embed(model=name)
    assert (answer.status_code, code(answer)) == (404, "model_not_found")
    assert answer.json()["error"]["message"].endswith("/docs/from-openai")


async def test_404_of_a_hostile_name_leads_to_an_address_and_fills_no_memory(api: Api):
    core = api.gateway.core
    for name in ("a b&c=d#<script>", "x" * 10_000, "\u202e/../..", "{{7*7}}"):
        answer = await api.embed(model=name)
        message = answer.json()["error"]["message"]
        address = message.rpartition(" ")[2]
        assert len(message) < 1_500
        assert re.fullmatch(r"http[\w:/.]+/ask\?model=[\w%./~-]*", address), address
    assert all(len(name) <= 100 for name in core.unknown.drain())
    for n in range(core.settings.demand_entries_max + 5):
        core.unknown.add(str(n))
    assert len(core.unknown.drain()) == core.settings.demand_entries_max


async def test_404_for_a_model_that_is_coming_soon(api: Api):
    answer = await api.embed(model=STELLA)
    assert (answer.status_code, code(answer)) == (404, "model_coming_soon")
    answer = await api.embed(model=f"{STELLA}:s2p_query")
    assert (answer.status_code, code(answer)) == (404, "model_coming_soon")
    await api.assert_untouched()


async def test_404_for_a_model_that_is_retired(api: Api):
    async with api.ledger.database.write() as connection:
        await connection.execute(update(models).where(models.c.id == MODEL).values(state="retired"))
    await api.gateway.core.catalog.refresh()
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (404, "model_not_found")
