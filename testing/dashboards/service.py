"""The dashboard of the service: requests, errors, their time, and how full the gateways are."""

from __future__ import annotations

from testing.dashboards.board import Board, quantile, rate_by, selected

_PATH = {"path": "/v1/embeddings"}


def board() -> Board:
    """Make it."""
    made = Board(
        "service",
        "Gateway: service",
        "Is the service up, for whom is it not, and is the gateway itself the reason?",
    )
    _now(made)
    _requests(made)
    _latency(made)
    _saturation(made)
    return made


def _now(made: Board) -> None:
    made.row("Now")
    made.number(
        "Gateways up",
        'sum(up{job="gateway"})',
        "Gateways that monitoring reaches, of the data plane and of the control plane.",
        unit="short",
    )
    made.number(
        "Errors of ours, 1 h",
        "slo:availability_errors:ratio_rate1h",
        "Requests that ended in 5xx, of all that were valid. The budget is 0.1 % of a month.",
        unit="percentunit",
        alert="AvailabilityBudgetBurnsFast",
        threshold=0.0144,
        decimals=3,
    )
    made.number(
        "Slow because of us, 1 h",
        "slo:latency_errors:ratio_rate1h",
        "Answers to which the gateway itself added over 0.1 s. The budget is 1 % of a month.",
        unit="percentunit",
        alert="LatencyBudgetBurnsFast",
        threshold=0.144,
        decimals=3,
    )
    made.number(
        "Wrong or unknown charges, 1 h",
        "slo:charges_errors:ratio_rate1h",
        "Answers that could not be charged, or of which a client was told that it is not known.",
        unit="percentunit",
        alert="ChargesBudgetBurnsFast",
        threshold=0.000144,
        decimals=5,
    )
    made.number(
        "Critical alerts",
        'count(ALERTS{alertstate="firing", severity="critical"}) or vector(0)',
        "Alerts that wake somebody and are firing now.",
        unit="short",
        threshold=1,
    )
    made.number(
        "Needs of operators",
        'max(gateway_attention_needs{severity="critical"})',
        "Critical lines of `gateway attention list`.",
        unit="short",
        alert="NeedsAttention",
        threshold=1,
    )


def _requests(made: Board) -> None:
    made.row("Requests and errors")
    made.graph(
        "Requests",
        (rate_by("gateway_requests_total", "path"), "{{path}}"),
        about="Requests answered in a second, by path.",
        unit="reqps",
    )
    made.graph(
        "Answers by status",
        (rate_by("gateway_requests_total", "status", **_PATH), "{{status}}"),
        about="4xx are the clients' errors, 429 and 503 ask to come again, other 5xx are ours.",
        unit="reqps",
        stacked=True,
    )
    made.graph(
        "Keys refused",
        (rate_by("gateway_keys_refused_total", "reason"), "{{reason}}"),
        about="API keys that were refused. A step up is a client's old key, or somebody who tries.",
        unit="reqps",
    )


def _latency(made: Board) -> None:
    made.row("Time")
    shares = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
    made.graph(
        "Time to the answer",
        *((quantile(share, "gateway_request_seconds", **_PATH), name) for share, name in shares),
        about="From the first byte read to the answer, workers included.",
        unit="s",
        exemplars=True,
    )
    made.graph(
        "Of that, the gateway's own",
        *((quantile(share, "gateway_overhead_seconds", **_PATH), name) for share, name in shares),
        about="Without the wait for a worker: reading, counting, reserving, charging. "
        "99 % stay below 0.1 s.",
        unit="s",
        exemplars=True,
        alert="LatencyBudgetBurnsFast",
        threshold=0.1,
    )
    made.graph(
        "Event loop late",
        (
            f"rate({selected('gateway_event_loop_late_seconds_total')}[$__rate_interval])",
            "{{instance}}",
        ),
        about="Share of the time that the process was behind: short of CPU, or blocked.",
        unit="percentunit",
        alert="EventLoopLate",
        threshold=0.2,
    )


def _saturation(made: Board) -> None:
    made.row("How full")
    made.graph(
        "Connections",
        (
            f"{selected('gateway_connections')} / {selected('gateway_connections_max')}",
            "{{instance}}",
        ),
        about="Open connections of clients, of those that a gateway takes "
        "(GATEWAY_CONNECTIONS_MAX). One too many gets 503.",
        unit="percentunit",
        ceiling=1,
        alert="ConnectionsNearlyExhausted",
        threshold=0.9,
    )
    made.graph(
        "Requests in progress",
        (selected("gateway_requests_in_flight"), "{{instance}}"),
        about="Metered requests in progress. A process takes GATEWAY_IN_FLIGHT_MAX of them (429).",
        unit="short",
    )
    made.graph(
        "Database connections",
        (
            selected("gateway_database_connections")
            + " / "
            + selected("gateway_database_connections_max"),
            "{{instance}}",
        ),
        about="In use, of GATEWAY_DATABASE_CONNECTIONS_MAX. Pages and jobs wait when all are.",
        unit="percentunit",
        ceiling=1,
        alert="DatabaseConnectionsExhausted",
        threshold=1,
    )
    made.graph(
        "Memory",
        (selected("process_resident_memory_bytes", job="gateway"), "{{instance}}"),
        about="Resident memory of a gateway's processes together.",
        unit="bytes",
    )
    made.graph(
        "CPU",
        (
            f"rate({selected('process_cpu_seconds_total', job='gateway')}[$__rate_interval])",
            "{{instance}}",
        ),
        about="Cores in use. One process uses one core at most, and a little for threads.",
        unit="short",
    )
    made.graph(
        "Bodies held",
        (selected("gateway_bodies_bytes"), "{{instance}}"),
        about="Bytes of request bodies in memory. A process takes GATEWAY_BODIES_BYTES_MAX (429).",
        unit="bytes",
    )
