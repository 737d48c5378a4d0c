"""What is done to one person or organization changes no row of another.

Ada and Bob both own A and B. Each has a session for each, keys in each, and invited people to each.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from gateway.control_plane.accounts import (
    authenticators,
    identities,
    key_revocation,
    links,
    memberships,
    organization_limits,
    organizations,
    session_listing,
    sessions,
    users,
)
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.keys import KeyNotFound
from gateway.control_plane.accounts.links import LinkSpent, MailLinks
from gateway.control_plane.accounts.organizations import KeyDefaults
from gateway.control_plane.accounts.session_listing import SessionNotFound
from gateway.storage import tables
from tests.control_plane.accounts.conftest import GUESTS, NOW, SECRET, World

OF_ADA = {"session ada A", "session ada B", "session ada C"}
ACTS: dict[str, tuple[Callable[[World], Awaitable[Any]], set[str]]] = {
    # sessions
    "switch": (
        lambda w: w.sessions.switch(w["session ada A"], w["ada"], w["B"]),
        {"session ada A"},
    ),
    "verify": (lambda w: w.within(w.sessions.verify, w["session ada A"]), {"session ada A"}),
    "understood": (lambda w: w.sessions.understood(w["session ada A"]), {"session ada A"}),
    "end": (lambda w: w.sessions.end(w["session ada A"]), {"session ada A"}),
    "see": (lambda w: w.sessions._see(w["session ada A"], 2), {"session ada A"}),
    "rotate": (
        lambda w: w.sessions._rotate(w.visitor("ada", "A"), 1, NOW),
        {"session ada A"},
    ),
    "end one": (
        lambda w: w.within(session_listing.end, w["ada"], w["session ada A"]),
        {"session ada A"},
    ),
    "end all": (lambda w: w.within(sessions.end_all, w["ada"]), OF_ADA),
    "doubt": (lambda w: w.within(sessions.doubt, w["ada"]), OF_ADA),
    "forget devices": (lambda w: w.within(sessions.forget_devices, w["ada"]), OF_ADA),
    # factors and identities
    "remove app": (
        lambda w: w.within(authenticators.remove, w["ada"]),
        {"authenticators: ada"},
    ),
    "disconnect": (
        lambda w: w.within(identities.disconnect, w["ada"], "github"),
        {"identities: ada", "identities: "},
    ),
    # keys
    "revoke": (
        lambda w: w.keys.revoke(w["key ada A own"], organization_id=w["A"]),
        {"key ada A own"},
    ),
    "rotate key": (
        lambda w: w.keys.rotate(
            w["key ada A own"], overlap=timedelta(hours=1), organization_id=w["A"]
        ),
        {"key ada A own"},
    ),
    "change key": (
        lambda w: w.keys.change(
            w["key ada A own"],
            organization_id=w["A"],
            name="Laptop",
            token_ids_from=None,
            truncate="end",
            budget=None,
            scopes=["embed"],
        ),
        {"key ada A own"},
    ),
    "budget": (
        lambda w: w.keys.set_budget(w["key ada A own"], 10**9, organization_id=w["A"]),
        {"key ada A own", "key_budgets: key ada A own", "accounts: A key ada A own"},
    ),
    "what ada knows": (
        lambda w: w.within(key_revocation.revoke_known_to, w["A"], w["ada"]),
        # hers, those that she rotated, and what she still knows of one that Bob rotated
        {"key ada A own", "key ada A rotated", "key bob A rotated", "key bob A long rotated"},
    ),
    # organizations and their members
    "role": (
        lambda w: w.within(memberships.change_role, w["A"], w["ada"], "member"),
        {"memberships: ada A", *(f"link ada A {one}" for one in GUESTS)},
    ),
    "remove": (
        lambda w: w.within(memberships.remove, w["A"], w["ada"]),
        {"memberships: ada A", *(f"link ada A {one}" for one in GUESTS), "session ada A"},
    ),
    "rename": (lambda w: w.within(organizations.rename, w["A"], "Other"), {"organizations: A"}),
    "defaults": (
        lambda w: w.within(organizations.set_defaults, w["A"], KeyDefaults("end", None)),
        {"organizations: A"},
    ),
    # links
    "give role": (
        lambda w: w.within(links.give_role, w["A"], "guest@example.com", "billing"),
        {"link ada A guest", "link bob A guest"},
    ),
    "take back": (
        lambda w: w.within(links.take_back, "invitation", w["A"], "guest@example.com"),
        {"link ada A guest", "link bob A guest"},
    ),
    "take all back": (
        lambda w: w.within(links.take_back, "invitation", w["A"]),
        {f"link {one} A {guest}" for one in ("ada", "bob") for guest in GUESTS},
    ),
    "code": (
        lambda w: w.within(
            w.codes.use, Address("ada@example.com"), "form 0", w.codes.written(w["link ada 0"])
        ),
        {"link ada 0"},
    ),
    "wrong code": (
        lambda w: w.within(w.codes.use, Address("ada@example.com"), "form 0", "000000"),
        {"link ada 0"},
    ),
}


@pytest.mark.parametrize("name", ACTS)
async def test_nothing_else_changes(world: World, name: str):
    act, expected = ACTS[name]
    assert await world.changed_by(lambda: act(world)) == expected


async def test_a_link_is_read_and_used_by_its_own_token(world: World):
    made = MailLinks(
        secret=SECRET, seconds={"sign_in": 60, "invitation": 60, "waitlist": 60}, per_hour=9,
        domain_per_hour=9,
    )  # fmt: skip
    new = {}
    for name in ("one", "two", "three"):
        address = Address(f"{name}@example.com")
        new[name] = await world.within(made.create, "waitlist", address, "a/b")
    for name in ("one", "two"):
        assert (await world.within(made.look, "waitlist", new[name].token)).id == new[name].id
        assert (await world.within(made.use, "waitlist", new[name].token)).id == new[name].id
        with pytest.raises(LinkSpent):
            await world.within(made.look, "waitlist", new[name].token)
    for name in ("one", "two"):
        assert (await world.within(made.used, "waitlist", new[name].token)).id == new[name].id
    with pytest.raises(LinkSpent):
        await world.within(made.used, "waitlist", new["three"].token)


async def test_of_many_sessions_those_used_last_are_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session_listing, "SHOWN_MAX", 2)
    row = tables.sessions.c
    async with world.database.write() as connection:
        for hours, place in enumerate("BAC"):
            used = update(tables.sessions).where(row.id == world[f"session ada {place}"])
            await connection.execute(used.values(rotated_at=NOW - timedelta(hours=hours)))
        found = await session_listing.of_user(connection, world["ada"])
    assert [one.id for one in found] == [world["session ada B"], world["session ada A"]]


async def test_a_session_that_is_over_is_not_listed(world: World):
    row = tables.sessions.c
    over = {"B": {"expires_at": NOW - timedelta(seconds=1)}, "C": {"revoked_at": NOW}}
    async with world.database.write() as connection:
        for place, values in over.items():
            mine = update(tables.sessions).where(row.id == world[f"session ada {place}"])
            await connection.execute(mine.values(values))
        found = await session_listing.of_user(connection, world["ada"])
    assert [one.id for one in found] == [world["session ada A"]]


async def test_what_ended_before_keeps_its_time(world: World):
    await world.sessions.end(world["session ada A"])
    changed = await world.changed_by(lambda: world.within(sessions.end_all, world["ada"]))
    assert changed == OF_ADA - {"session ada A"}


async def test_a_welcome_is_ones_own(world: World):
    row = tables.users.c
    async with world.database.write() as connection:
        for name in ("ada", "bob"):
            change = update(tables.users).where(row.id == world[name])
            await connection.execute(change.values(welcome=f"of {name}"))
        for name in ("ada", "bob"):
            assert await users.welcome_of(connection, world[name]) == f"of {name}"


@pytest.mark.parametrize("first", ["ada", "bob"])
async def test_who_came_first_is_listed_first(world: World, first: str):
    row = tables.memberships.c
    async with world.database.write() as connection:
        mine = update(tables.memberships).where(row.user_id == world[first])
        await connection.execute(mine.values(created_at=NOW - timedelta(days=1)))
        found = await memberships.listed(connection, world["A"])
    assert [one.email.partition("@")[0] for one in found] == sorted(
        ["ada", "bob"], key=lambda name: name != first
    )


async def test_only_ones_own_keys_are_listed(world: World):
    found = await world.keys.listed(world["A"])
    assert {one.organization_id for one in found} == {world["A"]}
    assert len(found) == 6


async def test_only_ones_own_invitations_wait(world: World):
    await world.within(links.take_back, "invitation", world["A"])
    async with world.database.write() as connection:
        late = tables.mail_links.c.email == "late@example.com"
        of_other = tables.mail_links.c.email == "other@example.com"
        change = update(tables.mail_links).where(tables.mail_links.c.subject == world["B"])
        await connection.execute(change.where(late).values(expires_at=NOW - timedelta(seconds=1)))
        await connection.execute(change.where(of_other).values(used_at=NOW))
    for place, guests in (("A", []), ("B", ["guest@example.com"])):
        found = await world.within(links.pending, "invitation", world[place])
        assert [one.email for one in found] == guests


async def test_a_name_and_defaults_are_an_organizations_own(world: World):
    wanted = KeyDefaults("end", "model")
    await world.within(organizations.set_defaults, world["B"], wanted)
    for place, defaults in (("A", KeyDefaults()), ("B", wanted), ("C", KeyDefaults())):
        assert await world.within(organizations.name_of, world[place]) == place
        assert await world.within(organizations.defaults, world[place]) == defaults


async def test_an_organizations_own_number_is_its_own(world: World):
    limit = organization_limits.set_in_flight_max
    for place, most in (("A", 3), ("B", 4), ("A", 5)):
        await world.within(limit, world[place], most)
    await world.within(limit, world["B"], None)
    read = organization_limits.in_flight_max
    assert await world.within(read, world["A"]) == 5
    assert await world.within(read, world["B"]) is None


@pytest.mark.parametrize(
    "act",
    [
        lambda w: w.keys.revoke(w["key ada A own"], organization_id=w["B"]),
        lambda w: w.keys.rotate(
            w["key ada A own"], overlap=timedelta(0), organization_id=w["B"]
        ),
        lambda w: w.keys.change(
            w["key ada A own"], organization_id=w["B"], name="Laptop", token_ids_from=None,
            truncate="end", budget=None, scopes=["embed"],
        ),
        lambda w: w.keys.set_budget(w["key ada A own"], None, organization_id=w["B"]),
        lambda w: w.within(session_listing.end, w["bob"], w["session ada A"]),
    ],
)  # fmt: skip
async def test_what_is_another_s_is_not_there(world: World, act: Callable[..., Awaitable[Any]]):
    before = await world.rows()
    with pytest.raises((KeyNotFound, SessionNotFound)):
        await act(world)
    assert await world.rows() == before


async def test_nobody_switches_to_where_they_do_not_belong(world: World):
    await world.within(memberships.remove, world["B"], world["ada"])
    there = world["session ada A"], world["ada"], world["B"]
    assert not await world.sessions.switch(*there)
    assert await world.changed_by(lambda: world.sessions.switch(*there)) == set()
