"""404: no such model, or none that is served."""

from sqlalchemy import update

from gateway.storage.tables import models
from testing.gateways import MODEL, STELLA, Api
from tests.data_plane.api.embeddings.conftest import BODY, code


async def test_404_for_an_unknown_model(api: Api):
    answer = await api.embed(model="gpt-5")
    assert (answer.status_code, code(answer)) == (404, "model_not_found")
    assert answer.json()["error"]["param"] == "model"


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
