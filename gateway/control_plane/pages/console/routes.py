"""The console, as one wing: its pages are for visitors who are signed in."""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from gateway.control_plane.pages.console import (
    alerts,
    billing,
    errors,
    keys,
    ledger,
    new_keys,
    organization,
    overview,
    payments,
    person,
    requests,
    security,
    trail,
    usage,
    view,
    votes,
    webhooks,
)
from gateway.control_plane.web.recording import provide_trail
from gateway.control_plane.web.visitors import provide_visitor, signed_in
from gateway.wings import Wing


def console_wing() -> Wing:
    """Return the pages."""
    pages = Router(
        "/",
        route_handlers=[
            overview.show_overview,
            usage.show_usage,
            usage.export_usage,
            requests.list_requests,
            requests.show_request,
            errors.show_errors,
            keys.list_keys,
            new_keys.ask_for_key,
            new_keys.create_key,
            new_keys.await_first_call,
            keys.show_key,
            keys.change_key,
            keys.rotate_key,
            keys.ask_to_revoke,
            keys.revoke_key,
            billing.show_billing,
            billing.buy,
            billing.open_portal,
            billing.set_auto_top_up,
            payments.list_payments,
            payments.show_payment,
            ledger.show_ledger,
            alerts.show_alerts,
            alerts.save_alerts,
            webhooks.list_webhooks,
            webhooks.add_webhook,
            webhooks.show_webhook,
            webhooks.change_webhook,
            webhooks.reveal_secret,
            webhooks.rotate_secret,
            webhooks.send_test,
            webhooks.replay_delivery,
            webhooks.enable_webhook,
            webhooks.disable_webhook,
            webhooks.remove_webhook,
            votes.show_votes,
            organization.show_settings,
            organization.rename_organization,
            organization.set_key_defaults,
            organization.invite,
            organization.withdraw_invitation,
            organization.change_role,
            organization.remove_member,
            trail.show_trail,
            person.leave_organization,
            person.note_move,
            person.list_organizations,
            person.switch_organization,
            person.disconnect_github,
            person.end_sessions,
            person.export_data,
            person.delete_account,
            view.end_view,
            security.show_security,
            security.ask_for_new_passkey,
            security.add_passkey,
            security.rename_passkey,
            security.remove_passkey,
            security.show_app,
            security.set_up_app,
            security.remove_app,
            security.end_session,
        ],
        guards=[signed_in],
        dependencies={
            "visitor": Provide(provide_visitor, sync_to_thread=False),
            "trail": Provide(provide_trail, sync_to_thread=False),
        },
    )
    return Wing("control", [pages])
