"""The public pages, as one wing."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.control_plane.pages.storefront import (
    asking,
    calculator,
    compare,
    demand,
    home,
    model_list,
    models,
    playground,
    robots,
    service_state,
    status,
    status_feeds,
    unsubscribe,
)
from gateway.control_plane.pages.storefront.pills import Pills
from gateway.control_plane.web import theme
from gateway.control_plane.web.page_parts import PagePart
from gateway.wings import Wing


def storefront_wing(document_paths: Iterable[str]) -> Wing:
    """Return the pages; `document_paths` are those of the documentation, for the sitemap."""
    paths, pills = tuple(document_paths), Pills()
    return Wing(
        "control",
        [
            home.show_home,
            model_list.list_models,
            model_list.list_collection,
            model_list.list_author,
            models.show_model,
            compare.compare_models,
            asking.show_ask,
            asking.ask,
            calculator.show_calculator,
            calculator.show_pricing,
            calculator.calculate,
            playground.open_playground,
            playground.show_playground,
            playground.experiment,
            status.show_status,
            status_feeds.read_status,
            status_feeds.read_feed,
            status_feeds.read_badge,
            demand.vote,
            demand.withdraw_vote,
            demand.join_waitlist,
            demand.leave_waitlist,
            demand.show_confirm,
            demand.confirm,
            unsubscribe.show_unsubscribe,
            unsubscribe.confirm_unsubscribe,
            unsubscribe.show_sent,
            robots.read_robots,
            robots.read_sitemap,
            theme.choose_theme,
        ],
        dependencies={
            "document_paths": PagePart(lambda: paths, sync_to_thread=False),
            "model_list": PagePart(model_list.provide_model_list),
            "pills": PagePart(lambda: pills, sync_to_thread=False),
            "listing_page": PagePart(models.provide_listing_page),
            "service_state": PagePart(service_state.provide_service_state),
        },
        operations=[status_feeds.OPERATION],
    )
