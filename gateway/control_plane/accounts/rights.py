"""What each role of a member may do for an organization, and see of it.

Everyone sees usage, keys, webhooks, alerts and who belongs; the rights say what more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Role = Literal["owner", "member", "billing", "developer", "read_only"]

Right = Literal["see_money", "buy", "keys", "webhooks", "alerts", "members"]
"""see_money: payments, cards and the ledger. buy: credit, cards, auto top-up. keys: create, change
and revoke. webhooks, alerts: set them up. members: invite, remove, give roles, name and defaults.
"""

RIGHTS: Mapping[Role, frozenset[Right]] = {
    "owner": frozenset({"see_money", "buy", "keys", "webhooks", "alerts", "members"}),
    "member": frozenset({"see_money", "keys"}),
    "billing": frozenset({"see_money", "buy", "alerts"}),
    "developer": frozenset({"keys", "webhooks"}),
    "read_only": frozenset({"see_money"}),
}

WORDS: Mapping[Role, tuple[str, str]] = {
    "owner": ("Owner", "does everything, and manages members"),
    "member": ("Member", "uses keys and sees usage and money"),
    "billing": ("Billing", "buys credit and sees money, without keys"),
    "developer": ("Developer", "uses keys and webhooks, and sees no payments"),
    "read_only": ("Read-only", "sees everything and changes nothing"),
}
"""Each role's name, and what it means."""
