"""What operators do to an account, and who may: the page, the trail's entry, and the mail."""

from datetime import UTC, datetime
from unittest.mock import ANY

import pytest
from playwright.sync_api import Locator, Page, expect

from gateway.control_plane.payments import customers
from gateway.control_plane.web.verification import FRESH
from testing.admin_rows import (
    NOW,
    add_credit,
    make_key,
    put_event,
    put_odd_payment,
    put_vote,
    switch_top_up_on,
)
from testing.admin_steps import fill_grant, forced, open_organization, order, rail, tab
from testing.admin_stories import Kind, Office, tells
from testing.back_office import Acted
from testing.enrolling import Phone
from testing.mailbox import Mailbox, put_mail
from tests.stories.admin.conftest import LOST, WANTED
from tests.stories.conftest import MINILM, sign_in

pytestmark = pytest.mark.long

ONE = "/admin/organizations/{organization_id}"
WITH_AND_WITHOUT = pytest.mark.parametrize("kind", ["javascript", "plain"])


@WITH_AND_WITHOUT
@tells(f"{ONE}/suspend", f"{ONE}/unsuspend")
def test_an_account_is_suspended_and_let_go(office: Office, kind: Kind):
    ada = office.customer(f"suspend-{kind}")
    page = office.page("finance", kind)
    open_organization(page, ada)
    page.get_by_role("link", name="Suspend").click()
    page.get_by_label("Why, for the audit trail").fill("Mines coins")
    office.look(page, f"suspend-{kind}")
    with office.watched() as left:
        page.get_by_role("button", name="Suspend the account").click()
        expect(page.get_by_role("status")).to_have_text("The account is suspended.")
    office.look(page, f"suspended-{kind}")
    subject = f"organization:{ada.id}"
    assert left.entries == [
        Acted("finance", "account.suspended", subject, {"state": "active"},
              {"state": "suspended", "frozen_by": ["operator"]}, "Mines coins")
    ]  # fmt: skip
    assert left.mails == [(ada.email, "Your account was suspended, and its requests are refused")]

    page.get_by_role("link", name="Lift suspension").click()
    page.get_by_label("Why, for the audit trail").fill("It does not")
    with office.watched() as left:
        page.get_by_role("button", name="Lift the suspension").click()
        expect(page.get_by_role("status")).to_have_text("The account is no longer suspended.")
    assert left.entries == [
        Acted("finance", "account.unsuspended", subject, {"state": "suspended"},
              {"state": "active", "frozen_by": []}, "It does not")
    ]  # fmt: skip
    assert left.mails == [(ada.email, "Your account is no longer suspended")]


@tells(f"{ONE}/seen", f"{ONE}/abandon")
def test_a_payment_that_is_odd_is_seen_and_given_up(office: Office):
    ada = office.customer("odd")
    payment = office.run(put_odd_payment(office.database, ada))
    page = office.page("finance")
    for link, button, says, action, before, after in (
        ("Seen", "Mark it as seen", "The payment is off the list.", "payment.seen", {}, {}),
        ("Give up", "Give it up", "The payment is given up.", "payment.abandoned",
         {"state": "open"}, {"state": "canceled"}),
    ):  # fmt: skip
        open_organization(page, ada)
        tab(page, "Payments")
        page.get_by_role("link", name=link).click()
        page.get_by_label("Why, for the audit trail").fill("Their test account")
        office.look(page, f"payment-{link}")
        with office.watched() as left:
            page.get_by_role("button", name=button).click()
            expect(page.get_by_role("status")).to_have_text(says)
        assert left.entries == [
            Acted("finance", action, f"payment:{payment}", before, after, "Their test account")
        ]
        assert left.mails == []


@tells(f"{ONE}/top-up-off")
def test_auto_top_up_is_switched_off(office: Office):
    ada = office.customer("topup")
    office.run(switch_top_up_on(office.database, ada))
    page = office.page("finance")
    open_organization(page, ada)
    page.get_by_role("link", name="Auto top-up off").click()
    page.get_by_label("Why, for the audit trail").fill("They asked by phone")
    office.look(page, "top-up-off")
    with office.watched() as left:
        page.get_by_role("button", name="Switch auto top-up off").click()
        expect(page.get_by_role("status")).to_have_text("Auto top-up is off.")
    assert left.entries == [
        Acted("finance", "auto_top_up.switched_off", f"organization:{ada.id}", {"enabled": True},
              {"enabled": False}, "They asked by phone")
    ]  # fmt: skip
    assert left.mails == []


@tells(f"{ONE}/requests")
def test_an_organization_may_have_more_requests_at_once(office: Office):
    ada = office.customer("requests")
    page = office.page("finance")
    open_organization(page, ada)
    page.get_by_role("link", name="Requests at once").click()
    page.get_by_label("Requests at once").fill("many")
    page.get_by_label("Why, for the audit trail").fill("They launch on Monday")
    page.get_by_role("button", name="Set the limit").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter 1 to 100,000 requests")
    expect(page.get_by_label("Why, for the audit trail")).to_have_value("They launch on Monday")
    page.get_by_label("Requests at once").fill("1,000")
    office.look(page, "requests")
    with office.watched() as left:
        page.get_by_role("button", name="Set the limit").click()
        expect(page.get_by_role("status")).to_have_text("The limit is set.")
    assert left.entries == [
        Acted("finance", "requests.limited", f"organization:{ada.id}", {"in_flight_max": None},
              {"in_flight_max": 1_000}, "They launch on Monday")
    ]  # fmt: skip
    assert left.mails == []


@tells(f"{ONE}/release")
def test_an_organization_may_buy_again(office: Office):
    ada = office.customer("release")

    async def hold() -> None:
        async with office.database.write() as connection:
            await customers.hold(connection, ada.id, "early fraud warning issfr_1", NOW)

    office.run(hold())
    page = office.page("finance")
    open_organization(page, ada)
    page.get_by_role("link", name="Allow buying again").click()
    page.get_by_label("Why, for the audit trail").fill("The bank was wrong")
    office.look(page, "release")
    with office.watched() as left:
        page.get_by_role("button", name="Let it buy").click()
        expect(page.get_by_role("status")).to_have_text("The organization may buy again.")
    assert left.entries == [
        Acted("finance", "buying.released", f"organization:{ada.id}", {"state": "held"},
              {"state": "free"}, "The bank was wrong")
    ]  # fmt: skip
    assert left.mails == []


@tells(f"{ONE}/budget", f"{ONE}/revoke")
def test_a_key_is_limited_and_revoked(office: Office):
    ada = office.customer("keys")
    key_id = office.run(make_key(office.database, ada, "laptop"))
    page = office.page("finance")
    open_organization(page, ada)
    tab(page, "Keys")
    page.get_by_role("link", name="Limit").click()
    page.get_by_label("At most, in dollars").fill("lots")
    page.get_by_label("Why, for the audit trail").fill("A loop")
    page.get_by_role("button", name="Set the limit").click()
    expect(page.get_by_label("At most, in dollars")).to_be_focused()
    office.look(page, "budget-refused")
    page.get_by_label("At most, in dollars").fill("20")
    with office.watched() as left:
        page.get_by_role("button", name="Set the limit").click()
        expect(page.get_by_role("status")).to_have_text("The key's limit is set.")
    (entry,) = left.entries
    assert entry[:3] == ("finance", "key.changed", f"key:{key_id}")
    changed = {"budget_nanos": 20 * 10**9, "period": "month"}
    assert entry.after == changed | {"scopes": "embed"}
    assert (entry.reason, left.mails) == ("A loop", [])

    tab(page, "Keys")
    page.get_by_role("link", name="Revoke").click()
    page.get_by_label("Why, for the audit trail").fill("It is on GitHub")
    office.look(page, "revoke")
    with office.watched() as left:
        page.get_by_role("button", name="Revoke the key").click()
        expect(page.get_by_role("status")).to_have_text("The key is revoked.")
    assert left.entries == [
        Acted("finance", "key.revoked", f"key:{key_id}", {"state": "in use"}, {"state": "revoked"},
              "It is on GitHub")
    ]  # fmt: skip
    assert left.mails == []


@tells(f"{ONE}/resend", f"{ONE}/note", f"{ONE}/view")
def test_a_customer_is_helped(office: Office, mailbox: Mailbox):
    ada = office.customer("helped")
    subject = "Your invoice"
    mail_id = office.run(put_mail(office.database, recipient=ada.email, subject=subject))
    page = office.page("support")
    open_organization(page, ada)
    tab(page, "Mails")
    page.get_by_role("link", name="Send again").click()
    page.get_by_label("Why, for the audit trail").fill("Their server is up")
    with office.watched() as left:
        page.get_by_role("button", name="Send it again").click()
        expect(page.get_by_role("status")).to_have_text("The email will be sent again.")
        mailbox.wait(ada.email, subject)
    assert left.entries == [
        Acted("support", "mail.resent", f"mail:{mail_id}", {"state": "failed", "attempts": 9},
              {"state": "pending"}, "Their server is up")
    ]  # fmt: skip
    assert left.mails == []  # it is the same mail

    page.get_by_label("Add a note for operators").fill("Asks each month")
    with office.watched() as left:
        page.get_by_role("button", name="Add note").click()
        expect(page.get_by_role("status")).to_have_text("The note is saved.")
    expect(page.get_by_text("Asks each month")).to_be_visible()
    assert left.entries == [
        Acted("support", "note.written", f"organization:{ada.id}", {}, {"note": ANY}, "")
    ]
    assert left.mails == []

    with office.watched() as left:
        page.get_by_role("button", name="View as customer").click()
        expect(page.get_by_role("status")).to_contain_text("You are viewing this as helped sees it")
        office.look(page, "view")
        page.get_by_role("button", name="End view").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("helped")
    viewed, ended = left.entries
    assert viewed[:3] == ("support", "organization.viewed", f"organization:{ada.id}")
    assert ended[:3] == ("support", "view.ended", f"organization:{ada.id}")
    assert left.mails == []


@tells("/admin/operators", "/admin/enroll", "/admin/verify", "/admin/operators/{user_id}/role",
       "/admin/operators/{user_id}/reset", "/admin/operators/{user_id}/remove")  # fmt: skip
def test_an_operator_comes_is_promoted_helped_and_goes(office: Office, mailbox: Mailbox):
    """The newcomer has no JavaScript, and an authenticator app."""
    owner = office.page("owner")
    with office.watched() as left:
        theirs, phone = enrolled(office, owner, mailbox, "nora@ops.example", "plain")
    user_id = office.meet("nora@ops.example")
    assert left.entries == [
        Acted("owner", "operator.added", f"user:{user_id}", {},
              {"role": "finance", "address": ANY}, "New colleague"),
        Acted(user_id, "sign_in_method.added", f"user:{user_id}", {}, {"method": "authenticator"},
              ""),
    ]  # fmt: skip
    assert ("nora@ops.example", "A new way to sign in to your account") in left.mails

    # what was typed comes through a proof that has become old
    ada = office.customer("kept")
    open_organization(theirs, ada)
    theirs.get_by_role("link", name="Grant credit").click()
    fill_grant(theirs, "3")
    office.proved_at(user_id, datetime.now(UTC) - FRESH)
    theirs.get_by_role("button", name="Check").click()
    expect(theirs.get_by_role("heading", level=1)).to_have_text("Confirm it's you")
    theirs.get_by_label("Six-digit code").fill("000000")
    theirs.get_by_role("button", name="Verify").click()
    expect(theirs.get_by_label("Six-digit code")).to_be_focused()
    office.look(theirs, "verify-refused")
    theirs.get_by_label("Six-digit code").fill(phone.code())
    theirs.get_by_role("button", name="Verify").click()
    expect(theirs.get_by_label("In your own words")).to_have_value("A slow week")
    expect(theirs.get_by_role("button", name="Post +$3.00")).to_be_visible()

    row = owner.get_by_role("row").filter(has_text="nora@ops.example")
    rail(owner, "Operators")
    row.get_by_text("Change", exact=True).click()
    row.get_by_label("Role").select_option("operator")
    office.look(owner, "operators")
    with office.watched() as left:
        staff(row, "Change the role of", "role")
        expect(owner.get_by_role("status")).to_have_text("The role is changed.")
    assert left.entries == [
        Acted("owner", "operator.role_changed", f"user:{user_id}", {"role": "finance"},
              {"role": "operator"}, "As agreed")
    ]  # fmt: skip
    assert left.mails == []

    row.get_by_text("Change", exact=True).click()
    with office.watched() as left:
        staff(row, "Reset", "reset")
        expect(owner.get_by_role("heading", level=1)).to_contain_text("Send this link to nora")
    assert left.entries == [
        Acted("owner", "operator.reset", f"user:{user_id}", {}, {}, "As agreed")
    ]
    assert left.mails == []
    theirs.goto("/admin")  # their sessions have ended
    expect(theirs.get_by_role("heading", level=1)).to_have_text("Nothing here")

    rail(owner, "Operators")
    row.get_by_text("Change", exact=True).click()
    with office.watched() as left:
        staff(row, "Remove", "remove")
        expect(owner.get_by_role("status")).to_have_text("They are no longer an operator.")
    assert left.entries == [
        Acted("owner", "operator.removed", f"user:{user_id}", {"role": "operator"}, {}, "As agreed")
    ]
    assert left.mails == []


def test_an_expired_session_loses_no_typed_form(office: Office, mailbox: Mailbox):
    ada = office.customer("expired")
    theirs, phone = enrolled(office, office.page("owner"), mailbox, "max@ops.example")
    open_organization(theirs, ada)
    theirs.get_by_role("link", name="Grant credit").click()
    fill_grant(theirs, "4")
    theirs.get_by_role("button", name="Check").click()
    office.end_sessions(office.meet("max@ops.example"))
    theirs.get_by_role("button", name="Post +$4.00").click()
    expect(theirs.get_by_role("heading", level=1)).to_have_text("You are signed out")
    expect(theirs.get_by_label("Amount in dollars")).to_have_value("4")
    expect(theirs.get_by_label("In your own words")).to_have_value("A slow week")
    office.look(theirs, "signed-out")
    with theirs.expect_popup() as popup:
        theirs.get_by_role("link", name="sign in in another tab").click()
    sign_in(popup.value, mailbox, "max@ops.example")
    theirs.get_by_role("button", name="Send again").click()
    # the form was made for nobody: now it says for whom it acts
    expect(theirs.get_by_role("main").get_by_text("max@ops.example")).to_be_visible()
    office.look(theirs, "expired-form")
    theirs.get_by_role("button", name="Send again").click()
    theirs.get_by_label("Six-digit code").fill(phone.code())
    with office.watched() as left:
        theirs.get_by_role("button", name="Verify").click()
        expect(theirs.get_by_role("status")).to_have_text("The credit is granted.")
    assert [entry[:3] for entry in left.entries] == [
        ("max", "credit.granted", f"organization:{ada.id}")
    ]
    assert len(left.mails) == 1


def test_support_grants_nothing(office: Office):
    ada = office.customer("denied")
    page = office.page("support")
    open_organization(page, ada)
    for action in ("Grant credit", "Suspend"):
        expect(page.get_by_role("button", name=action)).to_be_disabled()
    expect(page.get_by_text("Your role, support, does not allow what is disabled")).to_be_visible()
    office.look(page, "denied")
    page.goto(f"/admin/organizations/{ada.id}/grant")
    fill_grant(page, "1")
    expect(page.get_by_text("Your role, support, does not allow this.")).to_be_visible()
    office.look(page, "denied-grant")
    with office.watched() as left:
        assert forced(page.get_by_role("button", name="Check")) == 403
        office.look(page, "denied-forced")
    assert (left.entries, left.mails) == ([], [])


def test_who_only_reads_does_nothing(office: Office):
    """No button works but those of searches and filters; forms that are sent are refused."""
    ada = office.customer("read")
    office.run(add_credit(office.database, ada, 1))
    key_id = office.run(make_key(office.database, ada, "key"))
    mail_id = office.run(put_mail(office.database, recipient=LOST, subject="Read"))
    office.run(put_event(office.database, "evt_read"))
    office.run(put_vote(office.database, ada, WANTED))
    order(office.page("finance"), ada, "180")
    own, model = f"/admin/organizations/{ada.id}", f"/admin/models/{MINILM}"
    page = office.page("read")
    with office.watched() as left:
        for path in (
            own, f"{own}/grant", f"{own}/take", f"{own}/suspend", f"{own}/unsuspend",
            f"{own}/release", f"{own}/budget?target={key_id}", f"{own}/revoke?target={key_id}",
            f"{own}/resend?target={mail_id}", f"/admin/mail/{mail_id}", "/admin/events/evt_read",
            "/admin/snooze?key=mail-failed", model, f"{model}/price?price=0.01",
            f"/admin/launches/{WANTED}", "/admin/operators", "/admin/approvals", "/admin/keys",
            "/admin/mail", "/admin/events", f"/admin/demand/{WANTED}",
        ):  # fmt: skip
            page.goto(path)
            buttons = page.locator("main").locator("form[method=post] button, button[type=button]")
            for button in buttons.all():
                if button.inner_text() not in {"Copy", "Filter"}:
                    expect(button, f"{path}: {button.inner_text()}").to_be_disabled()
            expect(page.get_by_role("main"), path).to_contain_text("Your role")
        page.goto(f"{own}/suspend")
        page.get_by_label("Why, for the audit trail").fill("To see")
        assert forced(page.get_by_role("button", name="Suspend the account")) == 403
    assert (left.entries, left.mails) == ([], [])


def staff(row: Locator, button: str, form: str) -> None:
    """Do something to an operator, with a reason."""
    own = row.locator(f"form[action$={form}]")
    own.get_by_label("Reason").fill("As agreed")
    own.get_by_role("button", name=button).click()


def enrolled(
    office: Office, owner: Page, mailbox: Mailbox, address: str, kind: Kind = "javascript"
) -> tuple[Page, Phone]:
    """Make a newcomer an operator who sets an authenticator app up; return their page and app."""
    rail(owner, "Operators")
    owner.get_by_label("Address").fill(address)
    owner.get_by_label("Role").last.select_option("finance")
    owner.get_by_label("Reason").last.fill("New colleague")
    owner.get_by_role("button", name="Add").click()
    expect(owner.get_by_role("heading", level=1)).to_have_text(f"Send this link to {address}")
    office.look(owner, "enrolled")
    theirs = office.stranger(kind)
    theirs.goto(owner.locator("main code").inner_text())
    sign_in(theirs, mailbox, address)
    office.look(theirs, "enroll")
    phone = Phone(theirs.content(), steps_ago=0)
    theirs.get_by_label("Six-digit code").fill(phone.code())
    theirs.get_by_role("button", name="Set up the app").click()
    expect(theirs.get_by_role("heading", level=1)).to_contain_text("Needs attention")
    return theirs, phone
