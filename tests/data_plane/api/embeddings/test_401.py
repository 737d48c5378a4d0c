"""401: no key, or not a good one."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from gateway.data_plane.auth import keys
from gateway.errors import Unauthorized
from gateway.storage.tables import api_keys
from testing.gateways import Api
from tests.data_plane.api.embeddings.conftest import BODY, code


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Basic dXNlcjpwYXNz", "invalid_api_key"),
        ("Bearer", "invalid_api_key"),
        ("Bearer sk-short", "invalid_api_key"),
        ("Bearer sk-\xe9" + "a" * 45, "invalid_api_key"),
        pytest.param(f"Bearer {keys.mint(bytes(32))}", "invalid_api_key", id="made up"),
    ],
)
async def test_401(api: Api, header: str | None, expected: str):
    api.headers.pop("authorization")
    if header is not None:
        api.headers["authorization"] = header.encode("latin-1")  # type: ignore[assignment]
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (401, expected)


async def test_401_for_a_mistyped_key_says_so(api: Api):
    typo = api.ledger.secret[:-10] + ("a" if api.ledger.secret[-10] != "a" else "b")
    api.headers["authorization"] = f"Bearer {typo}{api.ledger.secret[-9:]}"
    answer = await api.embed(BODY)
    assert "a character is missing or wrong" in answer.json()["error"]["message"]


@pytest.mark.parametrize("header", ["Bearer", "Bearer  ", "Basic dXNlcjpwYXNz"])
async def test_401_for_a_header_without_a_key_says_how_to_send_one(api: Api, header: str):
    api.headers["authorization"] = header
    answer = await api.embed(BODY)
    assert "Authorization: Bearer sk-..." in answer.json()["error"]["message"]


async def test_401_once_a_key_is_revoked(api: Api):
    assert (await api.embed(BODY)).status_code == 200
    await api.keys.revoke(api.ledger.key_id)
    assert (await api.embed(BODY)).status_code == 401


async def test_401_once_a_key_has_expired(api: Api):
    async with api.ledger.database.write() as connection:
        await connection.execute(
            update(api_keys).values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    answer = await api.embed(BODY)
    assert (answer.status_code, code(answer)) == (401, "expired_api_key")


async def test_a_thousand_made_up_keys_make_no_query(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.gateway.data.key_store, "find", None)
    for _ in range(1_000):
        made_up = f"Bearer {keys.mint(bytes(32))}"
        with pytest.raises(Unauthorized):
            await api.gateway.data.authenticator.authenticate(made_up)
