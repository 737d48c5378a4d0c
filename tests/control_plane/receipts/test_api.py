"""GET /v1/receipts/key, /v1/receipts/roots and /v1/receipts/roots/{id}."""

from uuid import uuid4

from sqlalchemy import insert

from gateway.control_plane.receipts import published
from gateway.data_plane.metering import proofs
from gateway.data_plane.metering.receipts import ReceiptSigner, encode
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import receipt_roots
from testing.gateways import Api, open_api


async def test_each_answer_carries_a_receipt_that_anyone_can_check(api: Api):
    answer = await api.embed()
    keys = proofs.public_keys((await api.http.get("/v1/receipts/key")).content)
    verified = proofs.verify(answer.headers["x-receipt"], keys)
    assert verified.receipt.request_id == answer.headers["x-request-id"]
    assert verified.receipt.cost_nanos == answer.headers["x-cost-nanos"]
    assert verified.receipt.tokens == answer.json()["usage"]["total_tokens"]
    tree = verified.tree
    assert tree is not None
    published = (await api.http.get(f"/v1/receipts/roots/{tree.root_id}")).json()
    assert published["root"] == encode(tree.root)
    assert published["previous"] == encode(tree.previous)
    assert published["signature"] == encode(tree.signature)
    assert (published["size"], published["key_id"]) == (tree.size, verified.key_id)


async def test_the_log_of_roots_is_one_chain_a_process(api: Api):
    for _ in range(3):
        assert (await api.embed()).status_code == 200
    pages, after = [], None
    while True:
        query = {"limit": 2} if after is None else {"limit": 2, "after": after}
        page = (await api.http.get("/v1/receipts/roots", params=query)).json()
        pages += page["data"]
        if (after := page["next"]) is None:
            break
    assert [root["id"] for root in pages] == sorted({root["id"] for root in pages})
    assert sum(root["size"] for root in pages) == 3
    previous = bytes(32)
    for root in pages:
        assert proofs.decode(root["previous"]) == previous
        previous = proofs.digest(root["id"], root["size"], previous, proofs.decode(root["root"]))


async def test_the_log_is_in_the_order_of_ids(database: Database):
    """Also of processes whose ticks overtook one another."""
    ids = [new_id() for _ in range(3)]
    async with database.write() as connection:
        for root_id in (ids[1], ids[2], ids[0]):
            await connection.execute(
                insert(receipt_roots).values(
                    id=root_id, size=1, root=b"r", previous=b"p", key_id="k", signature=b"s"
                )
            )
    async with database.read() as connection:
        assert [root.id for root in await published.roots(connection)] == ids
        assert [root.id for root in await published.roots(connection, after=ids[0])] == ids[1:]


async def test_what_is_no_root_is_404_and_no_place_is_400(api: Api):
    for unknown in (str(uuid4()), "x", "0" * 36):
        answer = await api.http.get(f"/v1/receipts/roots/{unknown}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "root_not_found")
    for query in ({"after": "x"}, {"limit": 0}, {"page": 2}):
        answer = await api.http.get("/v1/receipts/roots", params=query)
        assert answer.status_code == 400, query


async def test_a_network_reads_the_public_log_so_often(sqlite_database_url: list[str]):
    async with open_api(sqlite_database_url[0], reads_per_minute=2) as api:
        statuses = [
            (await api.http.get(path)).status_code
            for path in ("/v1/receipts/key", "/v1/receipts/roots", "/v1/receipts/roots")
        ]
    assert statuses == [200, 200, 429]


async def test_a_key_to_come_is_published_before_it_signs(sqlite_database_url: list[str]):
    present, to_come = (ReceiptSigner(letter * 32) for letter in "pt")
    secrets = f"{'p' * 32}\n{'t' * 32}"
    async with open_api(sqlite_database_url[0], receipt_secret=secrets) as api:
        keys = proofs.public_keys((await api.http.get("/v1/receipts/key")).content)
    assert list(keys) == [present.public, to_come.public]
    assert api.gateway.data.receipts.key_id == present.key_id
