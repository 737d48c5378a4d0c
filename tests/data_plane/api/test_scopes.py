"""What a key may do: spend credit, read it, or both."""

import pytest

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.errors import BadRequest
from gateway.keyring import Keyring
from gateway.snapshots import Scope
from testing.gateways import MODEL, SECRET, Api

EMBEDS = [("POST", "/v1/embeddings"), ("POST", "/v1/embeddings/estimate")]
READS = [("GET", "/v1/credits"), ("GET", "/v1/usage"), ("POST", "/v1/credits/verify")]
BOTH = [("GET", "/v1/models")]


@pytest.mark.parametrize(
    ("scopes", "may", "may_not"),
    [
        (["embed"], EMBEDS + BOTH, READS),
        (["read"], READS + BOTH, EMBEDS),
        (["read", "embed"], EMBEDS + READS + BOTH, []),
    ],
)
async def test_a_key_does_what_its_scopes_allow(
    api: Api, scopes: list[Scope], may: list[tuple[str, str]], may_not: list[tuple[str, str]]
):
    keys = ApiKeys(api.ledger.database, secret=Keyring(SECRET))
    made = await keys.create(api.ledger.organization_id, "k", scopes=scopes)
    headers = {"authorization": f"Bearer {made.secret}"}

    async def ask(method: str, path: str) -> tuple[int, str]:
        body = {"model": MODEL, "input": "hi"} if "embeddings" in path else None
        answer = await api.http.request(method, path, headers=headers, json=body)
        refused = answer.json().get("error", {})
        return answer.status_code, refused.get("code", "")

    for request in may:
        assert await ask(*request) == (200, ""), request
    for request in may_not:
        assert await ask(*request) == (403, "scope_missing"), request


async def test_a_key_embeds_unless_more_is_asked_for_and_never_does_nothing(api: Api):
    keys = ApiKeys(api.ledger.database, secret=Keyring(SECRET))
    assert (await keys.create(api.ledger.organization_id, "k")).key.scopes == "embed"
    with pytest.raises(BadRequest) as refused:
        await keys.create(api.ledger.organization_id, "k", scopes=[])
    assert refused.value.param == "scopes"
