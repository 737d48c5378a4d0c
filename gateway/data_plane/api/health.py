"""/health/live, /health/ready and /metrics: for machines that watch the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from gateway.data_plane.routing.pools import WorkerStatus
from gateway.observability import metrics
from gateway.snapshots import Catalog


def routes(
    catalog: Callable[[], Catalog], workers: Callable[[], list[WorkerStatus]]
) -> list[HTTPRouteHandler]:
    """Make the routes."""

    @get("/health/live", sync_to_thread=False)
    def live() -> dict[str, str]:
        """Answer as long as the event loop turns."""
        return {"status": "live"}

    @get("/health/ready", sync_to_thread=False)
    def ready() -> Response[dict[str, Any]]:
        """Tell whether requests can be taken: 503 before the catalogue is read.

        Workers don't count, or every gateway would leave its load balancer together with them;
        how many of each model are ready is in the answer.
        """
        loaded = bool(catalog().models)
        counts = dict.fromkeys((status.model for status in workers()), 0)
        for status in workers():
            counts[status.model] += status.ready
        body = {"status": "ready" if loaded else "starting", "ready_workers": counts}
        return Response(body, status_code=200 if loaded else 503)

    @get("/metrics", sync_to_thread=False)
    def read_metrics() -> Response[bytes]:
        """Serve the metrics as text, for Prometheus."""
        return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)

    return [live, ready, read_metrics]
