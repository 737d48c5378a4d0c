"""The dashboard of the router: what waits, which workers are trusted, and what is repeated."""

from __future__ import annotations

from testing.dashboards.board import Board, rate_by, selected

_MODEL = "~$model"
_EVENTS = "gateway_routing_events_total"


def board() -> Board:
    """Make it."""
    made = Board(
        "router",
        "Gateway: router",
        "Does work wait, are workers trusted, and what do gateways do about those that are not?",
    )
    made.by_model("gateway_ready_workers")
    _now(made)
    _queue(made)
    _workers(made)
    _repeated(made)
    return made


def _now(made: Board) -> None:
    made.row("Now")
    made.number(
        "Models without a worker",
        "count(max by (model) (gateway_ready_workers) == 0) or vector(0)",
        "Live models that nobody serves: their requests are held and then get 503.",
        unit="short",
        width=6,
        alert="NoReadyWorker",
        threshold=1,
    )
    made.number(
        "Backlog",
        f"max(sum by (model) ({selected('gateway_backlog_seconds', model=_MODEL)}))",
        "How long the work that waits takes the ready workers, of the model that waits longest.",
        unit="s",
        width=6,
        alert="BacklogHigh",
        threshold=5,
    )
    made.number(
        "Turned away",
        f"sum(rate({selected(_EVENTS, model=_MODEL, event='~shed_.+')}[5m]))",
        "Requests a second that are turned away because they would wait too long.",
        unit="reqps",
        width=6,
        alert="RequestsShed",
        threshold=0.1,
    )
    made.number(
        "Wrong vectors, 1 h",
        "sum(increase(" + selected(_EVENTS, model=_MODEL, event="~disproved|disputes") + "[1h]))",
        "Workers that were shown wrong, and pairs that disagree.",
        unit="short",
        width=6,
        alert="WorkerGivesWrongVectors",
        threshold=0.5,
    )


def _queue(made: Board) -> None:
    made.row("What waits")
    made.graph(
        "Backlog",
        (f"sum by (model) ({selected('gateway_backlog_seconds', model=_MODEL)})", "{{model}}"),
        about="Work that waits and is in flight, in seconds of the ready workers. Scale by this.",
        unit="s",
        alert="BacklogHigh",
        threshold=5,
    )
    made.graph(
        "Tokens waiting",
        (f"sum by (model) ({selected('gateway_queue_tokens', model=_MODEL)})", "{{model}}"),
        about="Tokens in gateways' queues, not at a worker yet.",
        unit="short",
    )
    made.graph(
        "Turned away",
        (
            rate_by(_EVENTS, "event", model=_MODEL, event="~shed_.+"),
            "{{event}}",
        ),
        about="shed_no_worker: nobody serves it. shed_organization_full: one customer's queue. "
        "The others: more is asked than can be done.",
        unit="reqps",
        alert="RequestsShed",
        threshold=0.1,
    )


def _workers(made: Board) -> None:
    made.row("Workers as gateways see them")
    made.graph(
        "Ready",
        (f"max by (model) ({selected('gateway_ready_workers', model=_MODEL)})", "{{model}}"),
        about="Ready workers of each live model, at the gateway that sees most.",
        unit="short",
        alert="NoReadyWorker",
    )
    made.graph(
        "By state",
        (f"sum by (state) ({selected('gateway_worker_state', model=_MODEL)})", "{{state}}"),
        about="All workers at all gateways. quarantined: not trusted for now; draining: an "
        "operator's wish; warming: not reached, or not what the model needs.",
        unit="short",
        stacked=True,
        alert="WorkerNotReady",
    )
    made.graph(
        "Slower than measured",
        (f"max by (url) ({selected('gateway_worker_slowdown', model=_MODEL)})", "{{url}}"),
        about="Observed time divided by calibrated time. Far above 1: a sick or shared machine.",
        unit="short",
    )
    made.graph(
        "Tokens in flight",
        (f"sum by (url) ({selected('gateway_worker_tokens_in_flight', model=_MODEL)})", "{{url}}"),
        about="What all gateways have sent to each worker and have no answer to.",
        unit="short",
    )
    made.graph(
        "Quarantines",
        (f"max by (url) ({selected('gateway_worker_ejections', model=_MODEL)})", "{{url}}"),
        about="Relapses: each doubles the next quarantine, and healthy minutes take them back.",
        unit="short",
        alert="WorkerNotReady",
    )
    made.graph(
        "Certificates",
        ("min by (url) (gateway_worker_certificate_expiry_timestamp_seconds) - time()", "{{url}}"),
        about="Until the certificate ends that each worker of https:// showed last.",
        unit="s",
        alert="CertificateExpires",
        threshold=14 * 86400,
        low=True,
    )


def _repeated(made: Board) -> None:
    made.row("What is repeated, and what is compared")
    made.graph(
        "Retries and hedges",
        *(
            (
                f"sum(rate({selected('gateway_routing_events_total', model=_MODEL, event=event)}"
                "[$__rate_interval])) / sum(rate("
                + selected(_EVENTS, model=_MODEL, event="attempts")
                + "[$__rate_interval]))",
                event,
            )
            for event in ("retries", "hedges")
        ),
        about="Of all calls: repeated after a fault, and sent twice because the first took long.",
        unit="percentunit",
        alert="CallsRepeated",
        threshold=0.1,
    )
    made.graph(
        "Faults",
        (
            rate_by(_EVENTS, "event", model=_MODEL, event="~error_.+"),
            "{{event}}",
        ),
        about="Calls that gave no vectors, by kind. WorkerBusy is no fault.",
        unit="ops",
        alert="CallsRepeated",
    )
    made.graph(
        "Canaries and comparisons",
        *(
            (
                rate_by(_EVENTS, "event", model=_MODEL, event=event),
                "{{event}}",
            )
            for event in ("riders", "examinations_failed", "disputes", "disproved")
        ),
        about="riders: rows with known vectors in real calls. disputes: two workers differ. "
        "disproved: one was shown wrong.",
        unit="ops",
        alert="WorkerGivesWrongVectors",
    )
