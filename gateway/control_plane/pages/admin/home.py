"""The first page of the back office."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from gateway.control_plane.web.rendering import Render


@get("/admin")
async def show_home(render: NamedDependency[Render]) -> Response[str]:
    """Show what needs an operator."""
    return render("admin/home.html", section="home")
