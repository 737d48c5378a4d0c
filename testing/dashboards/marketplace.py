"""The dashboard of the marketplace: who comes, what they want, and whether our mails reach them."""

from __future__ import annotations

from testing.dashboards.board import Board, selected


def board() -> Board:
    """Make it."""
    made = Board(
        "marketplace",
        "Gateway: marketplace",
        "Do people come, what do they ask for, and do the mails leave that they wait for?",
    )
    made.by_model("gateway_model_votes")
    _now(made)
    _people(made)
    _mails(made)
    _jobs(made)
    return made


def _now(made: Board) -> None:
    made.row("Now")
    made.number("People", "max(gateway_people)", "People with an account.", unit="short", width=6)
    made.number(
        "Organizations",
        "max(gateway_organizations)",
        "Organizations, which own keys and credit.",
        unit="short",
        width=6,
    )
    made.number(
        "Oldest link",
        'max(gateway_mail_due_seconds{kind="link"})',
        "How long ago the oldest mail that someone is waiting for was due.",
        unit="s",
        width=6,
        alert="MailLate",
        threshold=300,
    )
    made.number(
        "Critical needs",
        'max(gateway_attention_needs{severity="critical"})',
        "What an operator must look at: `gateway attention list`.",
        unit="short",
        width=6,
        alert="NeedsAttention",
        threshold=1,
    )


def _people(made: Board) -> None:
    made.row("Who comes, and what they want")
    made.graph(
        "Sign-ups",
        ("max(delta(gateway_people[1d]))", "people"),
        ("max(delta(gateway_organizations[1d]))", "organizations"),
        about="New in the last 24 hours. A jump from one domain or network is listed under needs.",
        unit="short",
    )
    made.graph(
        "Votes",
        ('max by (model) (gateway_model_votes{model=~"$model"})', "{{model}}"),
        about="Votes that count, for models that are not live yet.",
        unit="short",
    )
    made.graph(
        "Waitlist",
        ('max by (model) (gateway_model_waiting{model=~"$model"})', "{{model}}"),
        about="Confirmed addresses that get a mail when the model launches.",
        unit="short",
    )


def _mails(made: Board) -> None:
    made.row("Mails")
    made.graph(
        "Late",
        ("max by (kind) (gateway_mail_due_seconds)", "{{kind}}"),
        about="Since when the oldest is due, whatever retries did: links, which people wait for, "
        "notices and launch mails.",
        unit="s",
        alert="MailLate",
        threshold=300,
    )
    made.graph(
        "Waiting",
        ("max by (kind) (gateway_mail_waiting)", "{{kind}}"),
        about="Mails not sent yet. Launch mails are sent in waves.",
        unit="short",
        alert="NoticesLate",
    )
    made.graph(
        "What became of them",
        ("sum by (outcome) (increase(gateway_mails_total[1h]))", "{{outcome}}"),
        about="Of the last hour. unknown: the connection ended before the server's answer.",
        unit="short",
        stacked=True,
        alert="MailsFailing",
    )


def _jobs(made: Board) -> None:
    made.row("Background jobs and needs")
    made.graph(
        "Jobs that fail",
        (
            f"sum by (name) (increase({selected('gateway_job_failures_total')}[15m])) > 0",
            "{{name}}",
        ),
        about="Failed runs of 15 minutes. All jobs: the database. One: what it works on.",
        unit="short",
        width=12,
        alert="JobFailing",
        threshold=3,
    )
    made.graph(
        "Needs of operators",
        ("max by (severity) (gateway_attention_needs)", "{{severity}}"),
        about="Lines of `gateway attention list`, without those that were put off.",
        unit="short",
        width=12,
        stacked=True,
        alert="NeedsAttention",
    )
