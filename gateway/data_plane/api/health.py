"""/health (also /health/live), /health/ready and /metrics, for load balancers and monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.routing.router import Router
from gateway.observability.exposition import Exposition
from gateway.snapshots import Catalog, WorkerState

MONITORING = "gateway.monitoring"
"""In the state of a request: whether it may see workers and models."""
_UNREADY = {
    "draining": "draining",
    "schema": "another schema",
    "catalog": "starting",
    "ledger": "no ledger",
    "journal": "no journal",
}
"""What takes this gateway out of its load balancer, and the status it returns."""


def routes(
    catalog: Callable[[], Catalog],
    router: Router,
    credit: LeasedCredits,
    exposition: Exposition,
    *,
    draining: Callable[[], bool],
    runs_on_schema: Callable[[], bool],
    ledger_away_seconds_max: float,
) -> list[HTTPRouteHandler]:
    """Make the routes."""

    @get(["/health", "/health/live"], sync_to_thread=False)
    def live() -> dict[str, str]:
        """Answer 200 as long as the event loop runs. Load tools ask for /health first."""
        return {"status": "live"}

    @get("/health/ready", sync_to_thread=False)
    def ready(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """Answer 200 if requests can be served, 503 otherwise.

        Not ready before the catalog is read, or when the ledger has been unreachable for longer
        than leased credit lasts: a shorter outage must not take every gateway out of its load
        balancer at once. For the same reason, workers don't matter: without one, requests are held
        and then get a Retry-After, which is more than a load balancer could do.

        `reasons` has a word for each problem: `draining` once it was told to stop,
        `schema` if the database is at a revision that this version does not run on, `catalog`,
        `ledger`, `journal` if neither the ledger nor the journal takes anything, so that requests
        are refused, `refused` if the ledger refuses an organization's usage (only that organization
        is affected), and `workers` if a live model has none that is ready; `ready_workers` counts
        those of every model. Both are only for monitoring; see GATEWAY_METRICS_TOKEN.
        """
        models = catalog().models
        counts = {
            model: sum(worker.state is WorkerState.READY for worker in pool.workers())
            for model, pool in router.pools.items()
        }
        live = [model.id for model in models.values() if model.state == "live"]
        causes = {
            "draining": draining(),
            "schema": not runs_on_schema(),
            "catalog": not models,
            "ledger": credit.away_seconds > ledger_away_seconds_max,
            "journal": credit.book.is_closed,
            "refused": credit.writer.state == "refuses",
            "workers": not all(counts.get(model) for model in live),
        }
        reasons = [reason for reason, holds in causes.items() if holds]
        status = next((_UNREADY[reason] for reason in reasons if reason in _UNREADY), "ready")
        body: dict[str, Any] = {"status": status}
        if request.scope["state"].get(MONITORING):
            body |= {"reasons": reasons, "ready_workers": counts}
        return Response(body, status_code=200 if status == "ready" else 503)

    @get("/metrics")
    async def read_metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Serve the metrics of all processes of this gateway, in OpenMetrics if it is accepted."""
        body, media_type = await exposition.whole(request.headers.get("accept", ""))
        return Response(body, media_type=media_type)

    return [live, ready, read_metrics]
