"""Organizations in the console: members, invitations, roles and what becomes of their keys."""

import pytest
from litestar import Litestar
from sqlalchemy import select

from gateway.app.process import Process
from gateway.storage.tables import (
    api_keys,
    memberships,
    organizations,
    users,
    waitlist_entries,
)
from testing.browsing import Browser, accept_invitation, field, mailed_link, sign_in, squeezed
from tests.control_plane.conftest import STELLA, rows
from tests.control_plane.pages.console.conftest import PAGES, SECRET


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


BOB = "bob@example.org"


async def test_members_are_invited_change_roles_and_leave(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/name", name="<script>acme</script>")
    assert "<script>acme" not in browser.page.text
    await browser.submit("/console/settings/invite", email="bob@example.org")
    assert "on its way" in browser.page.text
    bob = Browser(app)
    await accept_invitation(bob, gateway, BOB)
    assert "acme" in bob.page.text
    await bob.get("/console/settings")
    for path, fields in [("name", {"name": "bobs"}), ("invite", {"email": "c@example.org"})]:
        answer = await bob.submit(f"/console/settings/{path}", **fields)
        assert answer.status_code == 404  # he is no owner
        await bob.get("/console/settings")
    (member,) = await rows(gateway, select(memberships).where(memberships.c.role == "member"))
    asked = (await browser.get("/console/settings")).text.partition("Change role</summary>")[2]
    assert f"members/{member.user_id}/role" in asked.partition("</details>")[0]
    (ada,) = await rows(gateway, select(users).where(users.c.email == "ada@example.org"))
    await browser.get("/console/settings")
    assert f"members/{ada.id}/remove" not in browser.page.text  # so it is not offered either
    alone = await browser.submit(f"/console/settings/members/{ada.id}/role", role="member")
    assert alone.status_code == 400  # the last owner stays one
    await browser.get("/console/settings")
    await browser.submit(f"/console/settings/members/{member.user_id}/remove")
    assert "bob@example.org" not in browser.page.text
    assert '<p class="eyebrow">bob</p>' in (await bob.get("/console")).text  # he has his own
    await bob.close()


async def test_an_invitation_gives_its_role_and_the_newest_counts(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada@example.org")
    links = []
    for role in ("billing", "read_only"):
        await browser.get("/console/settings")
        await browser.submit("/console/settings/invite", email=BOB, role=role)
        links.append(await mailed_link(gateway, BOB))
    (mail, *_) = [m for m in await gateway.services.outbox.listed() if m.recipient == BOB]
    assert "Your role will be Read-only: sees everything and changes nothing." in mail.text
    page = await browser.get("/console/settings")
    assert '<td data-label="As">Read-only</td>' in page.text
    assert (await browser.submit("/console/settings/invite", email="c@example.org", role="owner")
            ).status_code == 400  # fmt: skip
    bob = Browser(app)
    await sign_in(bob, gateway, BOB)
    shown = await bob.get(links[0])
    assert "<strong>Read-only</strong>: sees everything" in shown.text
    await bob.submit("/sign-in/invitation", token=field(shown.text, "token"))
    await bob.close()
    (member,) = await rows(gateway, select(memberships).where(memberships.c.role != "owner"))
    assert member.role == "read_only"


async def invited(gateway: Process, browser: Browser, guest: Browser, email: str) -> None:
    """Have the owner in one browser invite whoever sits before the other."""
    await browser.get("/console/settings")
    await browser.submit("/console/settings/invite", email=email)
    await guest.get(await mailed_link(gateway, email))


async def test_who_is_invited_has_credit_and_waits_for_what_they_waited_for(
    gateway: Process, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await bob.get(f"/models/{STELLA}")
    await bob.submit("/waitlist", model=STELLA, email="bob@example.org")
    await bob.get(await mailed_link(gateway, "bob@example.org"))
    await bob.submit("/waitlist/confirm", token=field(bob.page.text, "token"))
    await sign_in(browser, gateway, "ada@example.org")
    await invited(gateway, browser, bob, "bob@example.org")
    assert "Join ada" in bob.page.text
    await accept_invitation(bob, gateway, BOB)
    assert '<p class="eyebrow">ada</p>' in bob.page.text
    await bob.close()
    people = await rows(gateway, select(users.c.email, users.c.welcome, users.c.id))
    assert {row.email: row.welcome for row in people} == {
        "ada@example.org": "granted", "bob@example.org": "granted",
    }  # fmt: skip
    ((waiting,),) = await rows(gateway, select(waitlist_entries.c.user_id))
    assert waiting == {row.email: row.id for row in people}["bob@example.org"]


async def test_an_invitation_ends_with_its_organization(
    gateway: Process, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(browser, gateway, "ada@example.org")
    await invited(gateway, browser, bob, "bob@example.org")
    token = field(bob.page.text, "token")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/delete", confirm="ada@example.org")
    assert (await bob.submit("/sign-in/invitation", token=token)).status_code == 400
    await bob.close()
    assert await rows(gateway, select(users).where(users.c.email.is_not(None))) == []


@pytest.mark.parametrize("options", [{"invitations_per_hour": 1}])
@pytest.mark.sqlite
async def test_invitations_are_no_way_to_write_to_strangers(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/name", name="Win at https://evil.example/x now")
    await browser.submit("/console/settings/invite", email="bob@example.org")
    (mail, *_) = await gateway.services.outbox.listed()
    assert "Win at https evil example x now" in mail.text
    await browser.get("/console/settings")
    more = await browser.submit("/console/settings/invite", email="carol@example.org")
    assert more.status_code == 429


async def test_a_member_leaves_and_the_last_owner_stays(
    gateway: Process, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    assert "Leave this organization" not in browser.page.text
    await invited(gateway, browser, bob, BOB)
    await accept_invitation(bob, gateway, BOB)
    await bob.get("/console/settings")
    assert "Leave ada" in bob.page.text
    await bob.submit("/console/settings/leave")
    assert bob.page.url.path == "/console"
    assert '<p class="eyebrow">bob</p>' in bob.page.text
    await bob.close()
    await browser.get("/console/settings")
    assert (await browser.submit("/console/settings/leave")).status_code == 400


async def joined(gateway: Process, browser: Browser, app: Litestar, email: str) -> Browser:
    """Have somebody join the organization of the owner in a browser, and return theirs."""
    guest = Browser(app)
    await invited(gateway, browser, guest, email)
    await accept_invitation(guest, gateway, email)
    return guest


async def test_keys_say_who_made_them(gateway: Process, browser: Browser, app: Litestar):
    await sign_in(browser, gateway, "ada@example.org")
    bob = await joined(gateway, browser, app, "bob@example.org")
    await bob.get("/console/keys")
    await bob.submit("/console/keys", name="bobs")
    (key,) = await rows(gateway, select(api_keys))
    await gateway.services.keys.create(key.organization_id, "by an operator")
    path = f"/console/keys/{key.id}"
    assert " by bob<wbr>@example.org, " in squeezed((await browser.get(path)).text)
    await bob.get("/console/settings")
    held = (await bob.get("/console/settings/export")).json()
    assert [made["name"] for made in held["keys"]] == ["bobs"]
    await bob.get("/console/settings")
    await bob.submit("/console/settings/leave")
    assert " by bob<wbr>@example.org (left), " in squeezed((await browser.get(path)).text)
    await bob.get("/console/settings")
    await bob.submit("/console/settings/delete", confirm="bob@example.org")
    assert "bob<wbr>" not in (await browser.get(path)).text
    assert await rows(gateway, select(api_keys).where(api_keys.c.created_by.is_not(None))) == []
    await bob.close()


async def test_who_is_removed_goes_on_in_their_own_organization(
    gateway: Process, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(bob, gateway, "bob@example.org")
    await sign_in(browser, gateway, "ada@example.org")
    await invited(gateway, browser, bob, BOB)
    await accept_invitation(bob, gateway, BOB)
    await bob.get("/console/keys")
    assert '<p class="eyebrow">ada</p>' in bob.page.text
    open_form = bob.token
    (bobs,) = await rows(gateway, select(users).where(users.c.email == "bob@example.org"))
    await browser.get("/console/settings")
    await browser.submit(f"/console/settings/members/{bobs.id}/remove")
    late = await bob.http.post(
        "/console/keys",
        data={"csrf_token": open_form, "name": "for ada"},
        headers={"sec-fetch-site": "same-origin"},
    )
    assert late.status_code == 403
    told = "You no longer belong to <strong>ada</strong>. You now act for bob."
    for path in PAGES:
        page = await bob.get(path)
        assert page.url.path == path
        assert '<p class="eyebrow">bob</p>' in page.text
        assert told in squeezed(page.text)
    await bob.submit("/console/settings/moved")
    assert bob.page.url.path == "/console"
    assert told not in bob.page.text
    await bob.close()


@pytest.mark.parametrize("way", ["removed", "left", "removed without"])
async def test_the_keys_of_who_goes_end_where_that_is_asked_for(
    gateway: Process, browser: Browser, app: Litestar, way: str
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="adas")
    bob = await joined(gateway, browser, app, "bob@example.org")
    secrets = []
    for name in ("first", "second"):
        await bob.get("/console/keys")
        made = SECRET.search((await bob.submit("/console/keys", name=name)).text)
        assert made
        secrets.append({"authorization": f"Bearer {made[0]}"})
    for headers in secrets:  # known to this process from here on
        assert (await browser.http.get("/v1/models", headers=headers)).status_code == 200
    (bobs,) = await rows(gateway, select(users).where(users.c.email == "bob@example.org"))
    leaver = bob if way == "left" else browser
    page = (await leaver.get("/console/settings")).text
    says = "You" if way == "left" else "They"
    says += " created or rotated 2 keys"
    assert says in page
    assert "adas" not in page.partition(says)[2].partition("</form>")[0]
    assert 'name="revoke" value="yes" checked' in page
    fields = {} if way == "removed without" else {"revoke": "yes"}
    if way == "left":
        await bob.submit("/console/settings/leave", **fields)
    else:
        await browser.submit(f"/console/settings/members/{bobs.id}/remove", **fields)
    expected = 200 if way == "removed without" else 401
    for headers in secrets:
        assert (await browser.http.get("/v1/models", headers=headers)).status_code == expected
    kept = await rows(gateway, select(api_keys.c.name).where(api_keys.c.revoked_at.is_(None)))
    assert ("adas",) in kept
    assert len(kept) == (3 if way == "removed without" else 1)
    await bob.close()


async def test_a_key_that_was_rotated_ends_for_those_who_know_it_alone(
    gateway: Process, browser: Browser, app: Litestar
):
    async def shown(who: Browser, path: str, **fields: str) -> dict[str, str]:
        await who.get("/console/keys")
        made = SECRET.search((await who.submit(path, **fields)).text)
        assert made
        return {"authorization": f"Bearer {made[0]}"}

    async def rotated(who: Browser, name: str) -> dict[str, str]:
        ((key_id,),) = await rows(gateway, select(api_keys.c.id).where(api_keys.c.name == name))
        return await shown(who, f"/console/keys/{key_id}/rotate", overlap_hours="24")

    await sign_in(browser, gateway, "ada@example.org")
    bob = await joined(gateway, browser, app, BOB)
    adas = await shown(browser, "/console/keys", name="adas")
    bobs = await shown(bob, "/console/keys", name="bobs")
    taken, replaced = await rotated(bob, "adas"), await rotated(browser, "bobs")
    secrets = (adas, bobs, taken, replaced)
    for headers in secrets:  # known to this process from here on
        assert (await browser.http.get("/v1/models", headers=headers)).status_code == 200
    page = squeezed((await browser.get("/console/settings")).text)
    parting = page.partition("They created or rotated 1 key ")[2].partition("</form>")[0]
    held, _, before = parting.partition(
        "They know the previous secret, which still works, of 1 key "
    )
    assert f"adas (…{taken['authorization'][-4:]}, rotated)" in held
    assert f"bobs (…{replaced['authorization'][-4:]})" in before
    assert "Revoke it, and end the previous secret too:" in before
    member = select(users).where(users.c.email == BOB)
    ((bob_id, *_),) = await rows(gateway, member)
    await browser.submit(f"/console/settings/members/{bob_id}/remove", revoke="yes")
    answers = [await browser.http.get("/v1/models", headers=headers) for headers in secrets]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 200]
    await bob.close()


@pytest.mark.sqlite
async def test_settings_say_that_they_are_saved(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    for path, fields in (
        ("name", {"name": "acme"}),
        ("keys", {"truncate": "end", "integers": "refuse"}),
    ):
        await browser.get("/console/settings")
        assert "Saved." not in browser.page.text
        await browser.submit(f"/console/settings/{path}", **fields)
        assert "Saved." in browser.page.text


async def test_somebody_of_two_organizations_switches(
    gateway: Process, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(bob, gateway, "bob@example.org")
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/invite", email="bob@example.org")
    await accept_invitation(bob, gateway, BOB)
    names = {row.name: row.id for row in await rows(gateway, select(organizations))}
    await bob.get("/console/organizations")
    assert '<p class="eyebrow">ada</p>' in bob.page.text
    assert bob.page.text.count('value="' + names["bob"]) == 1  # a button for the other one alone
    assert names["ada"] not in bob.page.text
    assert 'href="/console/organizations"' in bob.page.text
    assert 'href="/console/organizations"' not in (await browser.get("/console")).text
    other_tab = bob.token
    await bob.submit("/console/settings/organization", organization=names["bob"])
    assert '<p class="eyebrow">bob</p>' in bob.page.text
    late = await bob.http.post(
        "/console/keys",
        data={"csrf_token": other_tab, "name": "for ada's"},
        headers={"sec-fetch-site": "same-origin"},
    )
    assert late.status_code == 403
    assert "for bob." in late.text  # what it would do now is said, and the name still stands there
    assert "for ada&#39;s" in late.text
    assert await rows(gateway, select(api_keys)) == []
    await bob.close()


async def test_invitations_are_listed_and_taken_back(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada@example.org")
    bob = await joined(gateway, browser, app, "bob@example.org")
    carol = Browser(app)
    for _ in range(2):  # two mails, one line
        await invited(gateway, browser, carol, "carol@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/invite", email="dora@example.org")
    page = (await browser.get("/console/settings")).text
    assert page.count('<th scope="row">carol@example.org</th>') == 1
    assert "bob@example.org" not in page.partition('aria-label="Invitations"')[2]
    assert 'aria-label="Invitations"' not in (await bob.get("/console/settings")).text
    token = bob.token
    path, theirs = "/console/settings/invitations/withdraw", {"email": "carol@example.org"}
    assert (await bob.submit(path, csrf=token, **theirs)).status_code == 404  # he is no owner
    eve = Browser(app)
    await sign_in(eve, gateway, "eve@example.org")
    await eve.get("/console/settings")
    await eve.submit(path, **theirs)  # takes back what she invited, which is nobody
    await carol.get(str(carol.page.url))
    assert "Join ada" in carol.page.text
    link = field(carol.page.text, "token")
    await browser.get("/console/settings")
    await browser.submit(path, **theirs)
    assert "carol@example.org" not in browser.page.text
    assert '<th scope="row">dora@example.org</th>' in browser.page.text
    assert (await carol.submit("/sign-in/invitation", token=link)).status_code == 400
    for email, says in (("Ada@example.org", "You belong"), (BOB, f"{BOB} belongs")):
        await browser.get("/console/settings")
        again = await browser.submit("/console/settings/invite", email=email)
        assert again.status_code == 400
        assert f"{says} to this organization already." in again.text
        assert f'value="{email}"' in again.text
    for visitor in (bob, carol, eve):
        await visitor.close()
