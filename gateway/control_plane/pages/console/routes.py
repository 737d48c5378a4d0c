"""The console's pages: all of them for who is signed in."""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from gateway.control_plane.pages.console import keys, ledger, overview, settings, usage, votes
from gateway.control_plane.web.visitors import provide_visitor, signed_in


def router() -> Router:
    """Make the router; it hangs below the pages' own."""
    return Router(
        "/",
        route_handlers=[
            overview.show_overview,
            usage.show_usage,
            usage.export_usage,
            keys.list_keys,
            keys.create_key,
            keys.show_key,
            keys.change_key,
            keys.revoke_key,
            ledger.show_ledger,
            votes.show_votes,
            settings.show_settings,
            settings.rename_organization,
            settings.set_key_defaults,
            settings.invite,
            settings.withdraw_invitation,
            settings.change_role,
            settings.remove_member,
            settings.leave_organization,
            settings.note_move,
            settings.switch_organization,
            settings.disconnect_github,
            settings.end_sessions,
            settings.export_data,
            settings.delete_account,
        ],
        guards=[signed_in],
        dependencies={"visitor": Provide(provide_visitor, sync_to_thread=False)},
    )
