"""What each role of an operator may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gateway.control_plane.accounts.sessions import OperatorRole

Permission = Literal["view", "support", "money", "service", "approve", "operators"]
"""view: read everything. support: write notes, revoke keys, resend mails, replay events, set votes
aside, view as a customer. money: grant, take back, refund, freeze, limits. service: workers,
models, prices, launches, pause. approve: decide what a second person must. operators: manage them.
"""

PERMISSIONS: Mapping[OperatorRole, frozenset[Permission]] = {
    "read": frozenset({"view"}),
    "support": frozenset({"view", "support"}),
    "finance": frozenset({"view", "support", "money"}),
    "operator": frozenset({"view", "support", "service"}),
    "owner": frozenset({"view", "support", "money", "service", "approve", "operators"}),
}

WORDS: Mapping[OperatorRole, str] = {
    "read": "sees everything",
    "support": "helps customers",
    "finance": "helps customers and moves money",
    "operator": "runs workers, models and launches",
    "owner": "everything, approvals and operators too",
}
"""What each role is for, in a few words."""
