"""What going down from a revision would lose: rows of these tables, where the condition holds.

What is not here can be made anew, or matters for minutes: `FORGOTTEN` has it by name, so that a
test finds what is in neither. Going below the first revision would lose everything, and is not
offered.
"""

from collections.abc import Mapping

ALL = "1 = 1"

LOSSES: Mapping[str, Mapping[str, str]] = {
    "0002_freezes_and_books": {
        "freezes": "cause <> 'operator'",  # that one is kept, without its reason
        "ledger_entries": "reason IS NOT NULL",
    },
    "0003_payments": dict.fromkeys(
        (
            "auto_top_ups",
            "book_entries",
            "buying_holds",
            "payment_customers",
            "payment_disputes",
            "payment_refunds",
            "payments",
            "stripe_events",
            "stripe_transactions",
        ),
        ALL,
    ),
    "0004_alerts": dict.fromkeys(
        (
            "alert_preferences",
            "notices",
            "webhook_deliveries",
            "webhook_endpoints",
            "webhook_subscriptions",
        ),
        ALL,
    ),
    "0005_operators": {"operators": ALL, "trail_entries": ALL, "trail_words": ALL},
    "0006_second_factors": {"authenticators": ALL, "passkeys": ALL},
    "0008_approvals": dict.fromkeys(("money_orders", "operator_views", "organization_notes"), ALL),
    "0009_attention": {"saved_filters": ALL, "snoozes": ALL},
    "0010_market": {
        "price_changes": ALL,
        "set_aside_votes": ALL,
        "launches": "paused_at IS NOT NULL",
        "models": "card_edits IS NOT NULL OR page_edits IS NOT NULL",
    },
    "0011_service": {"traffic_answers": ALL, "traffic_hours": ALL, "worker_quarantines": ALL},
    "0012_receipts": {"receipt_keys": ALL, "receipt_roots": ALL},
    "0017_invited_roles": {"mail_links": "role <> ''"},
    "0018_organization_limits": {"organization_limits": ALL},
    "0019_mac_secrets": {
        # without their secret, such keys are unknown
        "api_keys": "mac_secret_id IS NOT NULL AND revoked_at IS NULL"
    },
    "0020_invitation_makers": {"mail_links": "maker <> ''"},
    "0025_key_scopes": {
        # a key would be able to do more than it was made for, or end before its time
        "api_keys": "scopes <> 'embed read' OR previous_digest IS NOT NULL"
    },
    # once another secret came first, what each of them made can't be told any more
    "0028_secrets": {"known_secrets": "(SELECT count(*) FROM known_secrets) > 1"},
    # whoever rotated a key would keep it when they are removed with their keys
    "0030_rotators": {"api_keys": "rotated_by IS NOT NULL OR previous_rotated_by IS NOT NULL"},
    "0031_model_requests": {"model_requests": "forms > 0"},
    "0032_request_log": {"error_hours": ALL, "model_answers": ALL},
    "0035_incident_updates": {"incident_updates": ALL},
    "0036_latency_by_key": {"latency_days": ALL, "latency_hours": ALL},
}

FORGOTTEN: Mapping[str, str] = {
    "alert_levels": "read again from balances",
    "alert_walks": "walked again",
    "answer_days": "sums of answer_hours",
    "api_keys.digest_secret": "the only one, or see LOSSES",
    "api_keys.mac_secret_id": "see LOSSES",
    "api_keys.previous_digest": "see LOSSES",
    "api_keys.previous_digest_secret": "the only one, or see LOSSES",
    "api_keys.previous_mac_secret_id": "see LOSSES",
    "api_keys.previous_rotated_by": "see LOSSES",
    "api_keys.previous_until": "see LOSSES",
    "api_keys.rotated_by": "see LOSSES",
    "api_keys.scopes": "see LOSSES",
    "audit_runs": "audited again",
    "audits": "audited again",
    "audit_sums": "sums of what is there",
    "credit_lots.burned_nanos": "what was granted without what is left",
    "demand_standings": "counted again",
    "enrollments": "minutes old",
    "error_days": "sums of error_hours",
    "known_secrets": "found again at the next start",
    "lasting_secrets": "derived again from the only secret",
    "launches.paused_at": "see LOSSES",
    "ledger_entries.reason": "see LOSSES",
    "mac_secrets": "their keys are in LOSSES",
    "mail_links.domain": "of their address",
    "mail_links.form": "codes end with it, and links go on",
    "mail_links.maker": "see LOSSES",
    "mail_links.role": "see LOSSES",
    "mail_links.tries": "codes end with it",
    "models.card_edits": "see LOSSES",
    "models.page_edits": "see LOSSES",
    "outbox.for_stranger": "an order of mails that are sent in minutes",
    "paid_prints": "seconds old",
    "passkey_challenges": "minutes old",
    "pool_reports": "reported again",
    "price_changes.announced_at": "set for all when it comes back",
    "promotion_shares": "of one day",
    "request_log": "days old, and what was charged is in usage_events",
    "schema_ranges": "written by revisions",
    "sessions.browser": "shown to whoever signed in",
    "sessions.network": "shown to whoever signed in",
    "sessions.verified_at": "verified again",
    "stripe_cursors": "read again from the start",
    "stripe_events.problem": "their rows are in LOSSES",
    "traffic_leaders": "elected again",
    "trail_heads": "of trail_entries",
    "usage_events.position": "an order for audits",
}
