"""A person who deletes their account, or exports it, touches and sees nothing of anybody else."""

import re
from typing import Any

import pytest
from sqlalchemy import Table, insert

from gateway.control_plane.accounts import privacy
from gateway.control_plane.catalog import catalog
from gateway.identifiers import new_id
from gateway.storage import tables
from tests.control_plane.accounts.conftest import NOW, World, address_of
from tests.control_plane.conftest import MINILM


def of_person(user_id: str, name: str, organization_id: str) -> list[tuple[Table, dict[str, Any]]]:
    """What a person has beside accounts."""
    address = address_of(name)
    return [
        (tables.demand_votes, {
            "id": new_id(), "model_id": MINILM, "user_id": user_id, "voter_key": name,
            "use_case": name, "created_at": NOW,
        }),
        (tables.set_aside_votes, {
            "model_id": MINILM, "voter_key": name, "reason": "bulk", "created_at": NOW,
        }),
        (tables.waitlist_entries, {
            "id": new_id(), "model_id": MINILM, "email": address, "address_key": name,
            "user_id": user_id, "confirmed_at": NOW,
        }),
        (tables.outbox, {
            "id": new_id(), "ref": name, "kind": "notice", "recipient": address, "subject": name,
            "text": "", "html": "", "unsubscribe_url": "", "state": "sent", "attempts": 1,
            "created_at": NOW, "due_at": NOW, "reason": "",
        }),
        (tables.unsubscriptions, {"email": address, "created_at": NOW}),
        (tables.enrollments, {"user_id": user_id, "digest": name.encode(), "expires_at": NOW}),
        (tables.passkeys, {
            "id": new_id(), "user_id": user_id, "name": name, "credential": name.encode(),
            "public_key": b"x", "signatures": 0, "created_at": NOW,
        }),
        (tables.webhook_endpoints, {
            "id": new_id(), "organization_id": organization_id, "url": f"https://{name}.example",
            "secret": b"x", "created_by": user_id, "created_at": NOW, "disabled_reason": "",
            "served_at": NOW,
        }),
        (tables.auto_top_ups, {
            "organization_id": organization_id, "enabled": True, "threshold_nanos": 1,
            "amount_cents": 1000, "month_cents_max": 1000, "paused": "", "declines": 0,
            "declined_card": "", "changed_by": user_id, "changed_at": NOW,
        }),
        (tables.payment_customers, {
            "organization_id": organization_id, "generation": 1, "customer_id": f"cus_{name}",
            "payment_method_id": f"pm_{name}", "card_brand": "visa", "card_last_four": "4242",
            "card_expires": "2030-01", "card_fingerprint": name, "held_reason": "",
            "changed_at": NOW,
        }),
        (tables.request_log, {
            "organization_id": organization_id, "request_id": new_id(), "key_id": new_id(),
            "model_id": MINILM, "created_at": NOW, "status": 200, "code": "", "latency_ms": 1,
            "missed": 0,
        }),
    ]  # fmt: skip


@pytest.fixture
async def filled(world: World) -> World:
    async with world.database.write() as connection:
        await catalog.seed(connection)
        for name, place in (("ada", "C"), ("bob", "D")):
            for table, values in of_person(world[name], name, world[place]):
                await connection.execute(insert(table).values(values))
    return world


async def test_only_what_is_a_persons_own_goes_with_them(filled: World):
    changed = await filled.changed_by(
        lambda: filled.within(privacy.forget, filled.visitor("ada", "A"))
    )
    assert {name for name in changed if "ada" not in name and "trail" not in name} == {
        "organizations: C", "identities: ", "webhook_endpoints: C", "auto_top_ups: C",
        "payment_customers: C", "request_log: C",
        # whose secrets she saw
        *(f"key bob {place} {what}" for place in "ABD" for what in ("rotated", "long rotated")),
    }  # fmt: skip
    left = await filled.rows()
    assert {name for name in left if "ada" in name and not re.search("key|trail", name)} == {
        "users: ada", "organizations: home-ada", "accounts: home-ada",
        "session ada A", "session ada B", "session ada C",
    }  # fmt: skip


async def test_an_export_has_nothing_of_anybody_else(filled: World):
    held = await filled.within(privacy.export, filled.visitor("ada", "A"))
    assert [one["use_case"] for one in held["votes"]] == ["ada"]
    assert [one["subject"] for one in held["mails"]] == ["ada"]
    assert [one.name for one in held["organizations"]] == ["ada", "A", "B", "C"]
    assert [one.name for one in held["passkeys"]] == ["ada"]
    assert [one["url"] for one in held["webhooks"]] == ["https://ada.example"]
    assert [one["email"] for one in held["waitlist"]] == [address_of("ada")]
    assert {one["name"] for one in held["keys"]} == {
        f"key ada {place} {what}" for place in "ABC" for what in ("own", "rotated", "long rotated")
    }
    lists = ("votes_set_aside", "auto_top_ups", "unsubscribed", "identities")
    assert {name: len(held[name]) for name in lists} == dict.fromkeys(lists, 1)
    assert len(held["sessions"]) == 3
