"""Money that operators move: what the page says, the trail's entry, and the mail."""

from unittest.mock import ANY

import pytest
from playwright.sync_api import expect

from testing.admin_rows import add_credit
from testing.admin_steps import forced, open_organization, order, rail, tab
from testing.admin_stories import Kind, Office, tells
from testing.back_office import Acted
from tests.stories.conftest import buys

pytestmark = pytest.mark.long

ONE = "/admin/organizations/{organization_id}"
EACH = pytest.mark.parametrize("kind", ["javascript", "plain", "phone"])


@EACH
@tells("/admin/search", f"{ONE}/grant")
def test_credit_is_granted(office: Office, kind: Kind):
    ada = office.customer(f"grant-{kind}")
    page = office.page("finance", kind)
    open_organization(page, ada)
    page.get_by_role("link", name="Grant credit").click()
    page.get_by_label("Amount in dollars").fill("five")
    page.get_by_label("Reason").select_option("Goodwill")
    page.get_by_label("In your own words").fill("A slow week")
    page.get_by_label("Ticket").fill("T-7")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_label("Amount in dollars")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("amount")
    expect(page.get_by_label("In your own words")).to_have_value("A slow week")
    office.look(page, f"grant-refused-{kind}")
    with office.watched() as checked:
        page.get_by_label("Amount in dollars").fill("5")
        page.get_by_role("button", name="Check").click()
        expect(page.get_by_role("region", name="What will be posted")).to_contain_text("+$5.00")
        expect(page.get_by_text(f"One email to {ada.email}")).to_be_visible()
    assert (checked.entries, checked.mails) == ([], [])
    office.look(page, f"grant-checked-{kind}")
    with office.watched() as left:
        page.get_by_role("button", name="Post +$5.00").click()
        expect(page.get_by_role("status")).to_have_text("The credit is granted.")
    office.look(page, f"grant-done-{kind}")
    after = {
        "balance_nanos": 5 * 10**9, "amount_nanos": 5 * 10**9, "order": ANY, "kind": "promo",
        "expires_days": 90,
    }  # fmt: skip
    assert left.entries == [
        Acted("finance", "credit.granted", f"organization:{ada.id}", {"balance_nanos": 0}, after,
              "goodwill: A slow week (T-7)")
    ]  # fmt: skip
    assert left.mails == [(ada.email, "You received $5.00 of free credit; it expires in 90 days")]


@tells(f"{ONE}/take")
def test_credit_is_taken_back(office: Office):
    ada = office.customer("take")
    office.run(add_credit(office.database, ada, 7))
    page = office.page("finance")
    open_organization(page, ada)
    tab(page, "Grants")
    page.get_by_role("link", name="Take back").click()
    page.get_by_label("Amount in dollars").fill("8")
    page.get_by_label("In your own words").fill("Meant for another")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("alert")).to_contain_text("$7.00")
    office.look(page, "take-refused")
    page.get_by_label("Amount in dollars").fill("2")
    page.get_by_role("button", name="Check").click()
    with office.watched() as left:
        page.get_by_role("button", name="Post \N{MINUS SIGN}$2.00").click()
        expect(page.get_by_role("status")).to_have_text("The credit is taken back.")
    (entry,) = left.entries
    assert entry[:3] == ("finance", "credit.taken", f"organization:{ada.id}")
    assert (entry.before["balance_nanos"], entry.after["balance_nanos"]) == (7 * 10**9, 5 * 10**9)
    assert entry.reason == "outage: Meant for another"
    assert left.mails == [(ada.email, "$2.00 of credit was taken back")]


@tells(f"{ONE}/undo")
def test_a_grant_is_undone(office: Office):
    ada = office.customer("undo")
    office.run(add_credit(office.database, ada, 7))
    page = office.page("finance")
    open_organization(page, ada)
    tab(page, "Ledger")
    page.get_by_role("link", name="Undo").click()
    page.get_by_label("In your own words").fill("For another one")
    page.get_by_role("button", name="Check").click()
    office.look(page, "undo-checked")
    with office.watched() as left:
        page.get_by_role("button", name="Post \N{MINUS SIGN}$7.00").click()
        expect(page.get_by_role("status")).to_have_text("The entry is reversed by another one.")
    (entry,) = left.entries
    assert entry[:3] == ("finance", "credit.taken", f"organization:{ada.id}")
    assert (entry.before["balance_nanos"], entry.after["balance_nanos"]) == (7 * 10**9, 0)
    assert (entry.after["undoes"], entry.reason) == (ANY, "outage: For another one")
    assert left.mails == [(ada.email, "$7.00 of credit was taken back")]


@tells(f"{ONE}/refund", f"{ONE}/reconcile")
def test_a_payment_is_read_again_and_refunded(office: Office):
    ada = office.customer("refund")
    theirs = office.page(ada)
    buys(theirs, 25)
    theirs.get_by_role("button", name="Pay with a good card").click()
    expect(theirs.get_by_text("Credited", exact=True)).to_be_visible(timeout=30_000)
    page = office.page("finance")
    open_organization(page, ada)
    tab(page, "Payments")
    page.get_by_role("link", name="Read from Stripe").click()
    page.get_by_label("Why, for the audit trail").fill("They say $30")
    office.look(page, "reconcile")
    with office.watched() as left:
        page.get_by_role("button", name="Read it now").click()
        expect(page.get_by_role("status")).to_have_text("The payment was read from Stripe.")
    (entry,) = left.entries
    assert entry[:2] == ("finance", "payment.read")
    assert entry.before == {"state": "paid", "posted_nanos": 25 * 10**9}
    assert (entry.reason, left.mails) == ("They say $30", [])

    tab(page, "Payments")
    page.get_by_role("link", name="Refund").click()
    page.get_by_label("Amount in dollars").fill("10")
    page.get_by_label("Reason").select_option("Requested by the customer")
    page.get_by_label("In your own words").fill("Bought twice")
    page.get_by_role("button", name="Check").click()
    office.look(page, "refund-checked")
    with office.watched() as left:
        page.get_by_role("button", name="Post \N{MINUS SIGN}$10.00").click()
        expect(page.get_by_role("status")).to_have_text("The refund is on its way.")
    (entry,) = left.entries
    assert (entry.actor, entry.action) == ("finance", "payment.refunded")
    assert entry.before == {"refunded_cents": 0}
    assert (entry.after["amount_cents"], entry.reason) == (1_000, "request: Bought twice")
    assert left.mails == [(ada.email, "$10.00 of your payment is refunded")]


@EACH
@tells("/admin/approvals/{order_id}/approve")
def test_a_second_owner_approves_what_the_first_may_not(office: Office, kind: Kind):
    ada = office.customer(f"approve-{kind}")
    page = office.page("owner", kind)
    with office.watched() as asked:
        order(page, ada, "150")
    (request,) = asked.entries
    assert request[:3] == ("owner", "approval.requested", ANY)
    assert request.after == {
        "organization": ada.id, "amount_nanos": 150 * 10**9, "waits": "approval"
    }  # fmt: skip
    assert asked.mails == []
    office.look(page, f"waits-{kind}")

    rail(page, "Approvals")
    row = page.get_by_role("row").filter(has_text=ada.email.partition("@")[0])
    approve = row.get_by_role("button", name="Approve $150.00")
    expect(approve).to_be_disabled()
    expect(row).to_contain_text("You ordered this, so someone else must approve it.")
    office.look(page, f"approvals-own-{kind}")
    with office.watched() as own:
        assert forced(approve) == 403
    assert (own.entries, own.mails) == ([], [])

    page = office.page("second", kind)
    rail(page, "Approvals")
    with office.watched() as left:
        row = page.get_by_role("row").filter(has_text=ada.email.partition("@")[0])
        row.get_by_role("button", name="Approve $150.00").click()
        expect(page.get_by_role("status")).to_contain_text("Approved")
    office.look(page, f"approved-{kind}")
    granted, given = left.entries
    assert granted[:3] == ("owner", "credit.granted", f"organization:{ada.id}")
    assert (granted.after["amount_nanos"], granted.reason) == (150 * 10**9, request.reason)
    assert request.reason == "outage: A slow week"
    assert given[:3] == ("second", "approval.given", request.subject)
    assert left.mails == [(ada.email, "You received $150.00 of free credit; it expires in 90 days")]


@tells("/admin/approvals/{order_id}/reject")
def test_an_order_is_rejected(office: Office):
    ada = office.customer("reject")
    order(office.page("finance"), ada, "200")
    page = office.page("owner")
    rail(page, "Approvals")
    row = page.get_by_role("row").filter(has_text="reject")
    row.get_by_text("Reject", exact=True).first.click()
    row.get_by_label("Why").fill("Not agreed on")
    with office.watched() as left:
        row.get_by_role("button", name="Reject").click()
        expect(page.get_by_role("status")).to_contain_text("Rejected")
    (entry,) = left.entries
    assert entry[:2] == ("owner", "approval.rejected")
    assert (office.names[entry.after["ordered_by"]], entry.reason) == ("finance", "Not agreed on")
    assert left.mails == []
