"""What operators edit stays when the data file is seeded again; all else follows the file."""

import msgspec
import pytest

from gateway.control_plane.back_office import model_control
from gateway.control_plane.back_office.model_control import CannotChangeState
from gateway.control_plane.catalog import cards, catalog, toml
from gateway.control_plane.catalog.cards import ReviewedModel
from gateway.control_plane.catalog.edits import BadModel
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.control_plane.trail import entries
from gateway.control_plane.trail.entries import Actor
from gateway.storage.database import Database
from tests.control_plane.conftest import MINILM, STELLA

pytestmark = pytest.mark.sqlite


async def edit(database: Database, card: str = "", page: str = "") -> None:
    async with database.write() as connection:
        await model_control.edit(
            connection, COMMAND_LINE, STELLA, card=card, page=page, reason="why"
        )


async def texts(database: Database) -> tuple[str, str]:
    async with database.read() as connection:
        now = await model_control.current(connection, STELLA)
    return toml.written(now.card), toml.written(now.page)


async def test_the_file_sets_only_what_no_operator_edited(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    card, page = await texts(database)
    await edit(database, card.replace('license = "MIT"', 'license = "Other"'))
    await edit(database, page=page.replace('title = "Stella EN 400M V5"', 'title = "Stella"'))
    reviewed = [
        msgspec.structs.replace(model, license="BSD", owned_by="Nova") for model in cards.reviewed()
    ]
    monkeypatch.setattr(cards, "reviewed", lambda: reviewed)
    async with database.write() as connection:
        await catalog.seed(connection)
        now = await model_control.current(connection, STELLA)
        found = await model_control.differences(connection)
    assert (now.card.license, now.card.owned_by) == ("Other", "Nova")
    assert now.page.title == "Stella"
    assert now.page.about  # the rest of the page is the file's
    assert [(row.model_id, row.part, row.field, row.file, row.now) for row in found] == [
        (STELLA, "card", "license", "BSD", "Other"),
        (STELLA, "page", "title", "Stella EN 400M V5", "Stella"),
    ]
    # set to what the file says, it is the file's again
    card, page = await texts(database)
    await edit(database, card.replace('license = "Other"', 'license = "BSD"'))
    async with database.read() as connection:
        left = await model_control.differences(connection, STELLA)
    assert [row.field for row in left] == ["title"]


async def test_an_edit_that_no_longer_fits_the_file_stays_as_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    card, _ = await texts(database)
    await edit(database, card.replace("dimensions_default = 1024", "dimensions_default = 8192"))

    def shorter(model: ReviewedModel) -> ReviewedModel:
        if model.id != STELLA:
            return model
        return msgspec.structs.replace(
            model, dimensions=[256], dimensions_default=256, derived_dimensions={}
        )

    reviewed = [shorter(model) for model in cards.reviewed()]
    monkeypatch.setattr(cards, "reviewed", lambda: reviewed)
    async with database.write() as connection:
        await catalog.seed(connection)
        now = await model_control.current(connection, STELLA)
    assert (now.card.dimensions_default, 8192 in now.card.dimensions) == (8192, True)


@pytest.mark.parametrize(
    ("card", "page"),
    [
        ("not toml", ""),
        ("tokens_max = 1", ""),
        ("", 'id = "other/name"'),
        ("x" * 20_001, ""),
    ],
)
async def test_what_the_data_file_may_not_say_is_refused(database: Database, card: str, page: str):
    before = await texts(database)
    with pytest.raises(BadModel):
        await edit(database, card, page)
    assert await texts(database) == before


async def test_a_model_is_added_and_retired_and_comes_back(database: Database):
    card, page = await texts(database)
    named = page.replace(STELLA, "acme/new")
    async with database.write() as connection:
        for name, flex in (("acme", 1), ("acme/new", 9), (STELLA, 1)):
            with pytest.raises(BadModel):
                await model_control.add(
                    connection, COMMAND_LINE, name, card=card, page=page, nanos=2, flex_nanos=flex,
                    reason="why",
                )  # fmt: skip
        await model_control.add(
            connection, COMMAND_LINE, "acme/new", card=card, page=named, nanos=2, flex_nanos=1,
            reason="why",
        )  # fmt: skip
        await catalog.seed(connection)
        model = (await catalog.snapshot(connection)).models["acme/new"]
        assert (model.state, model.price.nanos_per_million_tokens) == ("coming_soon", 2)
        for model_id, back in (("acme/new", "coming_soon"), (MINILM, "live")):
            for state in ("retired", back):
                await model_control.set_state(
                    connection, COMMAND_LINE, model_id, state, reason="why"
                )
            with pytest.raises(CannotChangeState):
                await model_control.set_state(connection, COMMAND_LINE, model_id, back, reason="x")
        with pytest.raises(CannotChangeState):
            await model_control.set_state(connection, COMMAND_LINE, STELLA, "live", reason="x")


async def test_who_vouched_is_of_the_models_own_revisions(database: Database):
    async with database.write() as connection:
        for model_id, revision in ((STELLA, "one"), (MINILM, "two"), (STELLA, "three")):
            await entries.record(
                connection, Actor(kind="command"), "golden.pinned", f"model:{model_id}",
                after={"revision": revision},
            )  # fmt: skip
        await entries.record(
            connection, Actor(kind="command"), "model.edited", f"model:{STELLA}",
            after={"revision": "four"},
        )  # fmt: skip
        by = "a command"
        assert await model_control.vouchers(connection, STELLA) == {"one": by, "three": by}
        assert await model_control.vouchers(connection, MINILM) == {"two": by}
