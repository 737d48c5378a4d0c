"""The back office, as one wing: its pages are for operators, and nothing to anyone else."""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from gateway.control_plane.pages.admin import (
    account_actions,
    approvals,
    books,
    bulk,
    demand,
    events,
    filters,
    home,
    incidents,
    keys,
    launches,
    mail,
    model_edits,
    models,
    money,
    operators,
    organization,
    organizations,
    prices,
    request_log,
    search,
    traffic,
    trail,
    waitlist,
    workers,
)
from gateway.control_plane.pages.admin.access import (
    operators_only,
    provide_operator,
    provide_render,
)
from gateway.control_plane.pages.admin.enrolling import ENROLLING
from gateway.wings import Wing


def admin_wing() -> Wing:
    """Return the pages."""
    pages = Router(
        "/",
        route_handlers=[
            home.show_home,
            demand.show_demand,
            demand.show_model_demand,
            waitlist.show_waitlist,
            trail.show_trail,
            books.show_books,
            traffic.show_traffic,
            workers.show_workers,
            workers.show_worker,
            workers.command_worker,
            mail.list_mails,
            mail.show_mail,
            mail.resend_mail,
            events.list_events,
            events.show_event,
            events.replay_event,
            home.show_snoozed,
            home.show_rules,
            search.start_search,
            search.show_hits,
            keys.list_all_keys,
            bulk.check_bulk,
            bulk.do_bulk,
            organizations.list_organizations,
            filters.save_filter,
            filters.remove_filter,
            home.ask_snooze,
            home.snooze,
            home.end_snooze,
            *incidents.HANDLERS,
            *models.HANDLERS,
            *operators.HANDLERS,
            *model_edits.HANDLERS,
            *prices.HANDLERS,
            launches.show_launches,
            launches.show_launch,
            launches.launch_model,
            launches.pause_launch,
            launches.resume_launch,
            organization.show_organization,
            organization.show_tab,
            request_log.list_organization_requests,
            request_log.show_organization_request,
            money.show_money_form,
            money.move_money,
            account_actions.show_action,
            account_actions.act_on_account,
            account_actions.write_note,
            account_actions.view_as,
            approvals.list_approvals,
            approvals.approve_order,
            approvals.reject_order,
        ],
        guards=[operators_only],
        dependencies={
            "operator": Provide(provide_operator, sync_to_thread=False),
            "render": Provide(provide_render, sync_to_thread=False),
        },
    )
    return Wing("control", [pages, *ENROLLING])
