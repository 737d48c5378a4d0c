"""The status page: whether each live model answers, how it did for 90 days, and incidents."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from gateway.control_plane.pages.storefront import day_bars
from gateway.control_plane.pages.storefront.service_state import ServiceState
from gateway.control_plane.status.performance import DAYS
from gateway.control_plane.web.rendering import Render


@get("/status")
async def show_status(
    render: NamedDependency[Render], service_state: NamedDependency[ServiceState]
) -> Response[str]:
    """Show the service as it is, and the incidents of the last days."""
    return render("status.html", state=service_state, days=DAYS, bars=day_bars.bars)
