"""The dashboard of workers: what each computes, and how close it is to its limits."""

from __future__ import annotations

from testing.dashboards.board import Board, quantile, rate_by, selected


def board() -> Board:
    """Make it."""
    made = Board(
        "workers",
        "Gateway: workers",
        "How much do workers compute, in which batches, and how close are they to their limits?",
        job="worker",
    )
    _now(made)
    _work(made)
    _limits(made)
    return made


def _now(made: Board) -> None:
    made.row("Now")
    made.number(
        "Workers up",
        'sum(up{job="worker"})',
        "Workers whose /metrics answers. Others than Stella's may have none.",
        unit="short",
        width=6,
        alert="WorkerDown",
    )
    made.number(
        "Ready for gateways",
        "sum(max by (model) (gateway_ready_workers))",
        "Workers of live models that have proven themselves, at the gateway that sees most.",
        unit="short",
        width=6,
        alert="NoReadyWorker",
    )
    made.number(
        "Tokens",
        f"sum(rate({selected('stella_tokens_total')}[5m]))",
        "Tokens a second that Stella workers compute, together.",
        unit="short",
        width=6,
    )
    made.number(
        "Out of memory, 1 h",
        f"sum(increase({selected('stella_out_of_memory_total')}[1h]))",
        "Batches that did not fit and were computed in halves.",
        unit="short",
        width=6,
        alert="WorkerOutOfMemory",
        threshold=0.5,
    )


def _work(made: Board) -> None:
    made.row("What they compute")
    made.graph(
        "Tokens",
        (rate_by("stella_tokens_total", "instance"), "{{instance}}"),
        about="Tokens a second. Equal workers that differ: one is slow, or gets less.",
        unit="short",
    )
    made.graph(
        "Rows",
        (rate_by("stella_rows_total", "instance"), "{{instance}}"),
        about="Texts a second. Few tokens a row make small batches.",
        unit="short",
    )
    made.graph(
        "Answers",
        (rate_by("stella_requests_total", "status", path="/embed"), "{{status}}"),
        about="Answers to gateways. 429: full, which is no fault. 499: the gateway hung up.",
        unit="reqps",
        stacked=True,
    )
    made.graph(
        "Batch size",
        (quantile(0.5, "stella_batch_tokens"), "half"),
        (quantile(0.99, "stella_batch_tokens"), "99 %"),
        about="Tokens of one batch. Larger batches use the device better.",
        unit="short",
    )
    made.graph(
        "Time of a batch",
        (quantile(0.5, "stella_batch_seconds"), "half"),
        (quantile(0.99, "stella_batch_seconds"), "99 %"),
        about="How long one batch computes. Slower at the same size: the device is shared or hot.",
        unit="s",
    )
    made.graph(
        "Tokens waiting",
        (selected("stella_queue_tokens"), "{{instance}}"),
        about="Inside the workers. It should be one batch or two: what waits longer waits in "
        "gateways, where it is fair.",
        unit="short",
    )


def _limits(made: Board) -> None:
    made.row("Close to the limits")
    made.graph(
        "Out of memory",
        (f"increase({selected('stella_out_of_memory_total')}[1h])", "{{instance}}"),
        about="Batches of the last hour that were computed in halves.",
        unit="short",
        alert="WorkerOutOfMemory",
    )
    made.graph(
        "Free memory",
        (selected("stella_memory_free_bytes"), "{{instance}}"),
        about="Free where the model computes: on the GPU, or of this machine or container.",
        unit="bytes",
        alert="WorkerOutOfMemory",
    )
    made.graph(
        "Computed again in float32",
        (
            rate_by("stella_rows_recomputed_total", "instance")
            + " / "
            + rate_by("stella_rows_total", "instance"),
            "{{instance}}",
        ),
        about="Rows that overflowed in half precision. A rare text does; many cost throughput.",
        unit="percentunit",
    )
    made.graph(
        "As gateways see them",
        ("sum by (url) (gateway_worker_tokens_in_flight)", "{{url}}"),
        about="Tokens in flight at each worker, other engines too.",
        unit="short",
    )
