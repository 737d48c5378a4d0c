"""All sources of "Needs attention". Each is beside its domain, in its `needs.py`."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.control_plane.accounts.needs import one_domain, one_network
from gateway.control_plane.alerts.needs import failing
from gateway.control_plane.attention.needs import Source
from gateway.control_plane.back_office.needs import orders
from gateway.control_plane.billing.needs import expiring, frozen, owing, promotion_budget, strays
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.demand.needs import launches_under_way, paying_models
from gateway.control_plane.mail.needs import failed, late
from gateway.control_plane.payments.needs import disputes, events, held, odd, stuck
from gateway.control_plane.status.needs import down, running_dry
from gateway.control_plane.trail.needs import audit_needs
from gateway.control_plane.workers.needs import quarantined
from gateway.settings import Settings


def sources(settings: Settings, gpu_terms: GpuTerms) -> Mapping[str, Source]:
    """Return all sources, named by what they report."""
    return {
        "models without workers": down,
        "audits": audit_needs,
        "workers": quarantined,
        "orders of money": orders,
        "frozen organizations": frozen,
        "organizations that owe": owing,
        "rows without a partition": strays,
        "disputes": disputes,
        "odd payments": odd,
        "stuck top-ups": stuck,
        "held buyers": held,
        "Stripe's events": events,
        "failed mails": failed,
        "late mails": late,
        "webhooks": failing,
        "new accounts of one domain": one_domain,
        "new accounts of one network": one_network,
        "credit that runs dry": running_dry,
        "credit that expires": expiring,
        "launches": launches_under_way,
        "demand": paying_models(gpu_terms),
        "free credit": promotion_budget(settings.promotion_nanos_per_day),
    }
