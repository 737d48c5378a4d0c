"""What operators do to the service: what the page says, the trail's entry, and the mail."""

import re
from datetime import timedelta
from unittest.mock import ANY

import pytest
from playwright.sync_api import expect

from gateway.dates import day_text
from testing.admin_rows import (
    NOW,
    await_launch,
    make_key,
    put_event,
    put_incident,
    put_request,
    put_vote,
    use,
)
from testing.admin_steps import do_to_many, open_organization, pick, rail, tab
from testing.admin_stories import Kind, Office, tells
from testing.back_office import Acted
from testing.mailbox import Mailbox, put_mail
from tests.stories.admin.conftest import EDITED, LAUNCHED, WANTED
from tests.stories.conftest import MINILM

pytestmark = pytest.mark.long

MODEL = "/admin/models/{owner}/{name}"
LAUNCH = "/admin/launches/{owner}/{name}"


def test_the_rail_is_one_column(office: Office):
    page = office.page("read")
    edges = page.locator(".rail li a").evaluate_all(
        "links => links.map(link => link.getBoundingClientRect().left)"
    )
    assert len(edges) > 10
    assert len(set(edges)) == 1


def test_a_customers_request_is_found_by_its_id(office: Office):
    ada = office.customer("calls")
    key_id = office.run(make_key(office.database, ada, "production"))
    request_id = office.run(put_request(office.database, ada, key_id))
    page = office.page("read")
    find = page.get_by_role("searchbox", name="Find")
    find.fill(request_id)
    find.press("Enter")
    page.get_by_role("link", name="unknown model").click()
    expect(page.get_by_role("heading", level=2).first).to_have_text("404 model_not_found")
    expect(page.get_by_role("main")).to_contain_text("What to do:")
    office.look(page, "organization-request")
    page.get_by_role("link", name="More about this error").click()
    expect(page.locator(":target")).to_contain_text("model_not_found")
    page.go_back()
    tab(page, "Requests")
    page.get_by_label("Outcome").select_option("Errors 5xx")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No requests match.")).to_be_visible()
    page.get_by_label("Outcome").select_option("Errors 4xx")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("region", name="Requests").get_by_role("row")).to_have_count(2)
    office.look(page, "organization-requests")


@tells("/admin/snooze", "/admin/snooze/end")
def test_a_need_is_put_off(office: Office):
    page = office.page("support")
    line = page.get_by_role("main").get_by_role("listitem").filter(has_text="of the last 3 days")
    line.get_by_role("link", name="Snooze").click()
    page.get_by_label("For", exact=True).select_option("4 hours")
    page.get_by_label("Why it can wait").fill("Their server is down")
    office.look(page, "snooze")
    with office.watched() as left:
        page.get_by_role("button", name="Snooze").click()
        expect(page.get_by_role("status")).to_contain_text("Snoozed")
        expect(line).to_have_count(0)
    (entry,) = left.entries
    assert entry[:3] == ("support", "need.snoozed", "need:mail-failed")
    assert (entry.reason, left.mails) == ("Their server is down", [])

    page.get_by_role("link", name="Snoozed 1").click()
    office.look(page, "snoozed")
    with office.watched() as left:
        page.get_by_role("button", name="Show again").click()
        expect(page.get_by_role("status")).to_have_text("It is shown again.")
    expect(page.get_by_text("Nothing is snoozed.")).to_be_visible()
    assert left.entries == [Acted("support", "need.unsnoozed", "need:mail-failed", {}, {}, "")]
    assert left.mails == []


@tells("/admin/filters", "/admin/filters/{filter_id}/remove")
def test_a_filter_is_kept_by_who_only_reads(office: Office):
    page = office.page("read")
    rail(page, "Organizations")
    page.get_by_label("State").select_option("Frozen")
    page.get_by_role("button", name="Filter").click()
    with office.watched() as left:
        page.get_by_label("Name of this filter").fill("In trouble")
        page.get_by_role("button", name="Keep").click()
        expect(page.get_by_role("link", name="In trouble")).to_be_visible()
        page.get_by_role("button", name="Remove the filter In trouble").click()
        expect(page.get_by_role("link", name="In trouble")).to_have_count(0)
    assert (left.entries, left.mails) == ([], [])  # nobody else's


# Mail, Stripe's events, and many lines at once


@tells("/admin/mail/{mail_id}/resend")
def test_a_mail_is_sent_again(office: Office, mailbox: Mailbox):
    to = "again@mail.example"
    mail_id = office.run(put_mail(office.database, recipient=to, subject="Once more"))
    page = office.page("support")
    rail(page, "Mail")
    page.get_by_role("link", name="Failed").click()
    page.get_by_role("link", name="Once more").click()
    page.get_by_label("Reason").fill("Asked for")
    office.look(page, "mail")
    with office.watched() as left:
        page.get_by_role("button", name="Send it again").click()
        expect(page.get_by_role("status")).to_have_text("It will be sent in a moment.")
        mailbox.wait(to, "Once more")
    assert left.entries == [
        Acted("support", "mail.resent", f"mail:{mail_id}", {"state": "failed", "attempts": 9},
              {"state": "pending"}, "Asked for")
    ]  # fmt: skip
    assert left.mails == []


@tells("/admin/events/{event_id}/replay")
def test_an_event_is_replayed(office: Office):
    office.run(put_event(office.database, "evt_single"))
    page = office.page("support")
    rail(page, "Webhook inbox")
    page.get_by_role("row").filter(has_text="ch_evt_single").get_by_role("link").first.click()
    page.get_by_label("Reason").fill("The ledger differs")
    office.look(page, "event")
    with office.watched() as left:
        page.get_by_role("button", name="Replay it").click()
        expect(page.get_by_role("status")).to_have_text("It will be routed in a moment.")
    assert left.entries == [
        Acted("support", "event.replayed", "event:evt_single", {"state": "done", "attempts": 1},
              {"state": "waiting"}, "The ledger differs")
    ]  # fmt: skip
    assert left.mails == []


@tells("/admin/bulk", "/admin/bulk/do#revoke-keys")
def test_many_keys_are_revoked(office: Office):
    ada = office.customer("bulk")
    keys = [office.run(make_key(office.database, ada, name)) for name in ("one", "two")]
    page = office.page("support")
    open_organization(page, ada)
    rail(page, "Keys")
    page.get_by_label("Organization's id").fill(ada.id)
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("button", name="Revoke …").click()  # with no line selected
    expect(page.get_by_role("alert")).to_contain_text("Select from 1 to 500 lines.")
    office.look(page, "bulk-nothing")
    page.get_by_role("link", name="Back").click()
    pick(page, "one", "two")
    page.get_by_role("button", name="Revoke …").click()
    office.look(page, "bulk-checked")
    page.get_by_label("Why").fill("   ")
    page.get_by_role("button", name="Revoke 2 keys").click()
    expect(page.get_by_role("alert")).to_contain_text("Say why")
    expect(page.get_by_label("Why")).to_be_focused()
    office.look(page, "bulk-refused")
    page.get_by_label("Why").fill("Both leaked")
    with office.watched() as left:
        page.get_by_role("button", name="Revoke 2 keys").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Done for 2 keys")
    office.look(page, "bulk-done")
    assert sorted(entry.subject for entry in left.entries) == sorted(f"key:{one}" for one in keys)
    assert {entry[0:2] + entry[5:] for entry in left.entries} == {
        ("support", "key.revoked", "Both leaked")
    }
    assert left.mails == []


@tells("/admin/bulk/do#resend-mails")
def test_many_mails_are_sent_again(office: Office, mailbox: Mailbox):
    to = ["first@mail.example", "next@mail.example"]
    for address in to:
        office.run(put_mail(office.database, recipient=address, subject="For many"))
    page = office.page("support")
    rail(page, "Mail")
    page.get_by_role("link", name="Failed").click()
    pick(page, *(f"For many to {address}" for address in to))
    with office.watched() as left:
        do_to_many(page, "Resend", "2 mails", "The server is up")
        for address in to:
            mailbox.wait(address, "For many")
    assert {entry[:2] + entry[5:] for entry in left.entries} == {
        ("support", "mail.resent", "The server is up")
    }
    assert len(left.entries) == len(to)
    assert left.mails == []


@tells("/admin/bulk/do#replay-events")
def test_many_events_are_replayed(office: Office):
    for name in ("evt_many_1", "evt_many_2"):
        office.run(put_event(office.database, name))
    page = office.page("support")
    rail(page, "Webhook inbox")
    pick(page, "charge.updated evt_many_1", "charge.updated evt_many_2")
    with office.watched() as left:
        do_to_many(page, "Replay", "2 events", "Stripe is back")
    assert [entry[:3] + entry[5:] for entry in left.entries] == [
        ("support", "event.replayed", "event:evt_many_1", "Stripe is back"),
        ("support", "event.replayed", "event:evt_many_2", "Stripe is back"),
    ]
    assert left.mails == []


@tells("/admin/bulk/do#set-aside-votes", "/admin/bulk/do#restore-votes")
def test_votes_are_set_aside_and_count_again(office: Office):
    eve = office.customer("votes")
    vote_id = office.run(put_vote(office.database, eve, WANTED))
    page = office.page("support")
    rail(page, "Demand")
    page.get_by_role("link", name="embed-base-1").first.click()
    office.look(page, "demand")
    for verb, action, counts in (
        ("Set aside", "vote.set_aside", False),
        ("Count again", "vote.restored", True),
    ):
        pick(page, eve.email)
        with office.watched() as left:
            do_to_many(page, verb, "1 vote", "One network")
        (entry,) = left.entries
        assert entry[:3] == ("support", action, f"vote:{vote_id}")
        assert (entry.before["counted"], entry.after["counted"]) == (not counts, counts)
        assert (entry.reason, left.mails) == ("One network", [])
        page.get_by_role("link", name="Back to the list").click()


# The service


@tells("/admin/workers/drain", "/admin/workers/undrain", "/admin/workers/check")
def test_a_worker_is_drained_examined_and_let_serve(office: Office):
    page = office.page("operator")
    rail(page, "Workers")
    workers = page.get_by_role("region", name="Workers")
    workers.get_by_role("row").filter(has_text=MINILM).get_by_role("link").click()
    url = page.get_by_role("heading", level=1).inner_text()
    office.look(page, "worker")
    check = page.locator("form[action*=check]")
    check.get_by_label("Reason").fill("It is slow")
    with office.watched() as left:
        check.get_by_role("button", name="Examine it now").click()
        expect(page.get_by_role("status")).to_have_text("It is being examined.")
    serves, drains = {"wish": {MINILM: "serve"}}, {"wish": {MINILM: "drain"}}
    assert left.entries == [
        Acted("operator", "worker.checked", f"worker:{url}", serves, serves, "It is slow")
    ]
    assert left.mails == []

    page.locator("form[action*='/drain']").get_by_label("Reason").fill("A new disk")
    with office.watched() as left:
        page.get_by_role("button", name="Drain it").click()
        expect(page.get_by_role("status")).to_have_text(
            "It gets nothing new and finishes what it has."
        )
    office.look(page, "worker-drained")
    assert left.entries == [
        Acted("operator", "worker.drained", f"worker:{url}", serves, drains, "A new disk")
    ]
    assert left.mails == []

    page.locator("form[action*=undrain]").get_by_label("Reason").fill("The disk is in")
    with office.watched() as left:
        page.get_by_role("button", name="Undrain it").click()
        expect(page.get_by_role("status")).to_have_text(
            "It will prove itself, and then get work again."
        )
    assert left.entries == [
        Acted("operator", "worker.undrained", f"worker:{url}", drains, serves, "The disk is in")
    ]
    assert left.mails == []


@tells("/admin/incidents/{incident_id}/post", "/admin/incidents/{incident_id}/correct")
def test_the_public_is_told_of_an_incident(office: Office):
    incident_id = office.run(put_incident(office.database, MINILM))
    page = office.page("operator")
    rail(page, "Incidents")
    office.look(page, "incidents")
    page.get_by_role("link", name=f"{MINILM} was unavailable").first.click()
    page.get_by_label("Title").fill("A full disk")
    page.get_by_label("Words").fill("It is replacd.")
    page.get_by_label("Reason").fill("People ask")
    office.look(page, "incident")
    with office.watched() as left:
        page.get_by_role("button", name="Publish").click()
        expect(page.get_by_role("status")).to_contain_text("It is published")
    (entry,) = left.entries
    posted = {"title": "A full disk", "words": "It is replacd.", "update": ANY}
    told = ("operator", "incident.update_posted", f"incident:{incident_id}")
    assert entry == Acted(*told, {}, posted, "People ask")
    assert left.mails == []

    page.get_by_role("link", name="Correct").click()
    expect(page.get_by_label("Words")).to_have_value("It is replacd.")
    page.get_by_label("Words").fill("It is replaced.")
    page.get_by_label("Reason").fill("A typo")
    office.look(page, "incident-correct")
    with office.watched() as left:
        page.get_by_role("button", name="Publish the correction").click()
        expect(page.get_by_role("status")).to_contain_text("It is corrected")
    (entry,) = left.entries
    assert entry[1:3] == ("incident.update_corrected", f"incident:{incident_id}")
    assert (entry.before, entry.after) == (posted, posted | {"words": "It is replaced."})
    assert left.mails == []
    page.get_by_role("link", name="Status page").click()
    expect(page.locator(f"[id='{incident_id}']")).to_contain_text("It is replaced.")
    page.get_by_role("link", name="Write an update").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A full disk")


@tells("/admin/models/new", f"{MODEL}/edit", f"{MODEL}/state")
def test_a_model_is_added_edited_and_retired(office: Office):
    page = office.page("operator")
    rail(page, "Models and prices")
    page.get_by_role("link", name=MINILM).click()
    page.get_by_role("link", name="Edit").click()
    card, words = (page.get_by_label(name).input_value() for name in ("Facts", "Page, as"))
    rail(page, "Models and prices")
    page.get_by_role("link", name="Add a model").click()
    page.get_by_label("Name, as OWNER/NAME").fill("acme/new")
    page.get_by_label("Estimated dollars").fill("0.01")
    page.get_by_label("Facts").fill("license = 1")
    page.get_by_label("Page, as").fill(words.replace(MINILM, "acme/new"))
    page.get_by_label("Reason").fill("Asked for")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_label("Facts")).to_be_focused()
    office.look(page, "model-refused")
    page.get_by_label("Facts").fill(card)
    page.get_by_role("button", name="Check").click()
    office.look(page, "model-checked")
    with office.watched() as left:
        page.get_by_role("button", name="Add acme/new").click()
        expect(page.get_by_role("status")).to_contain_text("The model is added.")
    assert left.entries == [
        Acted("operator", "model.added", "model:acme/new", {},
              {"state": "coming_soon", "price_nanos": 10**7, "flex_price_nanos": 5 * 10**6},
              "Asked for")
    ]  # fmt: skip
    assert left.mails == []

    page.goto(f"/admin/models/{EDITED}/edit")
    facts = page.get_by_label("Facts")
    facts.fill(facts.input_value().replace("MIT", "Apache-2.0"))
    page.get_by_label("Reason").fill("Its license changed")
    page.get_by_role("button", name="Check").click()
    office.look(page, "model-edit-checked")
    with office.watched() as left:
        page.get_by_role("button", name="Save 1 change").click()
        expect(page.get_by_role("status")).to_have_text("The changes are saved.")
    expect(page.get_by_role("region", name="Edited fields")).to_contain_text("license")
    (entry,) = left.entries
    assert entry[:3] == ("operator", "model.edited", f"model:{EDITED}")
    assert (entry.reason, left.mails) == ("Its license changed", [])

    page.get_by_label("New state").select_option("retired")
    page.get_by_label("Reason", exact=True).fill("Never wanted")
    with office.watched() as left:
        page.get_by_role("button", name="Set the state").click()
        expect(page.get_by_role("status")).to_contain_text("The state is set.")
    office.look(page, "model-retired")
    assert left.entries == [
        Acted("operator", "model.state_changed", f"model:{EDITED}", {"state": "coming_soon"},
              {"state": "retired"}, "Never wanted")
    ]  # fmt: skip
    assert left.mails == []


@tells(f"{MODEL}/price", f"{MODEL}/price/cancel")
def test_a_price_is_set_and_called_off(office: Office, mailbox: Mailbox):
    ada = office.customer("price")
    office.run(use(office.database, ada, MINILM))
    page = office.page("operator")
    rail(page, "Models and prices")
    page.get_by_role("link", name=MINILM).click()
    page.get_by_role("link", name="New price").click()
    page.get_by_label("Dollars per million tokens").fill("0.02")
    page.get_by_role("button", name="Check").click()
    page.get_by_label("Reason").fill("Power costs more")
    page.get_by_role("button", name="Set $0.02 now").click()
    expect(page.get_by_role("alert")).to_contain_text("1 organization used it")
    expect(page.get_by_label("Effective date")).to_be_focused()  # a rise needs notice
    office.look(page, "price-refused")
    day = (NOW + timedelta(days=40)).date()
    page.get_by_label("Effective date").fill(f"{day}")
    page.get_by_role("button", name="Check").click()
    page.get_by_label("Reason").fill("Power costs more")
    office.look(page, "price-checked")
    with office.watched() as left:
        page.get_by_role("button", name="Set $0.02 from").click()
        expect(page.get_by_role("status")).to_have_text("The price is set.")
        mailbox.wait(ada.email, "rises from")
    (entry,) = left.entries
    assert entry[:3] == ("operator", "price.scheduled", f"model:{MINILM}")
    assert (entry.after["price_nanos"], entry.reason) == (2 * 10**7, "Power costs more")
    rises = (
        f"The price of {MINILM} rises from $0.008 to $0.02 per million tokens on {day_text(day)}"
    )
    assert left.mails == [(ada.email, f"{rises}, 00:00 UTC")]

    coming = page.get_by_role("region", name="Scheduled prices")
    expect(coming).to_contain_text("$0.02")
    coming.get_by_role("textbox").fill("Not now")
    with office.watched() as left:
        coming.get_by_role("button", name="Cancel price").click()
        expect(page.get_by_role("status")).to_have_text("The scheduled price is canceled.")
    (entry,) = left.entries
    assert entry[:2] == ("operator", "price.canceled")
    assert (entry.before["price_nanos"], entry.reason, left.mails) == (2 * 10**7, "Not now", [])


@pytest.mark.parametrize(
    ("kind", "model"), list(zip(["javascript", "plain"], LAUNCHED, strict=True))
)
@tells(LAUNCH, f"{LAUNCH}/pause", f"{LAUNCH}/resume")
def test_a_model_is_launched_and_its_mails_are_held(
    office: Office, mailbox: Mailbox, kind: Kind, model: str
):
    people = [f"{name}-{kind}@wait.example" for name in ("a", "b")]
    office.run(await_launch(office.database, model, people))
    page = office.page("operator", kind)
    rail(page, "Launches")
    page.goto(f"/admin/launches/{model}")
    page.get_by_label("Reason").fill("They wait")
    office.look(page, f"launch-{kind}")
    with office.watched() as left:
        page.get_by_role("button", name=re.compile("^Launch at .*, mail 2 people")).click()
        expect(page.get_by_role("status")).to_contain_text("It is live.")
        mailbox.wait(people[0], "is live")
    assert left.entries == [
        Acted("operator", "model.launched", f"model:{model}", {"state": "coming_soon"},
              {"state": "live", "price_nanos": ANY, "flex_price_nanos": ANY}, "They wait")
    ]  # fmt: skip
    assert people[0] in [to for to, subject in left.mails if "is live" in subject]

    page.get_by_label("Reason").fill("A typo")
    with office.watched() as left:
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("status")).to_contain_text("Paused")
    office.look(page, f"launch-paused-{kind}")
    assert left.entries == [
        Acted("operator", "launch.paused", f"model:{model}", {}, {"mails_held": 1}, "A typo")
    ]
    assert left.mails == []

    page.get_by_label("Reason").fill("Mended")
    with office.watched() as left:
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("status")).to_have_text("Resumed.")
    assert left.entries == [Acted("operator", "launch.resumed", f"model:{model}", {}, {}, "Mended")]
    assert mailbox.to(people[1], "is live") == []  # its wave is minutes away
