"""The forms of API keys: what a key is to be, what of it changes, and how it gets a new secret."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Literal

import msgspec

from gateway.control_plane.accounts.key_listing import HeldKey
from gateway.control_plane.accounts.keys import KeyChanged
from gateway.control_plane.accounts.organizations import KeyDefaults
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.web.forms import RefusedForm
from gateway.data_plane.metering.port import Period
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.money import money
from gateway.snapshots import SCOPES, Scope, TokenIdsFrom, Truncate
from gateway.storage.ledger.budgets import Budget

KeyScopes = Literal["embed", "read", "embed read"]


class KeyForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is to be."""

    name: str = "default"
    scopes: KeyScopes = "embed"
    integers: Literal["", "refuse", "model"] = ""
    """Empty, here and in `truncate`: the organization's default."""
    truncate: Literal["", "refuse", "end", "start"] = ""
    budget: str = ""
    """In dollars; empty: whatever the organization has."""
    budget_period: Period = "month"

    def token_ids_from(self, defaults: KeyDefaults) -> TokenIdsFrom | None:
        """Return whose token ids its arrays of integers are."""
        if self.integers == "":
            return defaults.token_ids_from
        return None if self.integers == "refuse" else self.integers

    def truncated_at(self, defaults: KeyDefaults) -> Truncate | None:
        """Return which end of its long texts is cut off."""
        if self.truncate == "":
            return defaults.truncate
        return None if self.truncate == "refuse" else self.truncate

    def scope_list(self) -> list[Scope]:
        """Return what it may do."""
        return [scope for scope in SCOPES if scope in self.scopes.split()]

    def limited(self) -> Budget | None:
        """Return its budget. Raises BadRequest."""
        if not self.budget.strip():
            return None
        return Budget(
            limit_nanos=nanos_of_dollars(self.budget, param="budget"), period=self.budget_period
        )


class NewKeyForm(KeyForm, frozen=True, kw_only=True):
    """A new key. `id` is the form's: sent twice, it makes one key."""

    id: str = ""
    expires_days: Literal["", "7", "30", "90", "365"] = ""


class ChangedKeyForm(KeyForm, frozen=True, kw_only=True):
    """Changes to a key. `seen` is when it was last changed before the form was shown."""

    seen: str = ""

    def moment(self) -> datetime | None:
        """Return the time in `seen`, if any. Raises BadRequest."""
        if not self.seen:
            return None
        with contextlib.suppress(ValueError):
            seen = datetime.fromisoformat(self.seen)
            if seen.tzinfo is not None:
                return seen
        raise BadRequest("The form was modified: open the key's page again.")


class RotationForm(msgspec.Struct, frozen=True):
    """How long the secret before works, too."""

    overlap_hours: Literal["0", "1", "24", "168"] = "24"


def prefilled(defaults: KeyDefaults) -> NewKeyForm:
    """Return the empty form, with the organization's defaults."""
    return NewKeyForm(
        id=new_id(),
        name="",
        integers=defaults.token_ids_from or "refuse",
        truncate=defaults.truncate or "refuse",
    )


def typed_again(refused: RefusedForm, key: HeldKey) -> ChangedKeyForm:
    """Return what was typed; after a conflict, sending it again replaces what is shown now."""
    typed: ChangedKeyForm = refused.typed
    if not isinstance(refused.error, KeyChanged):
        return typed
    return msgspec.structs.replace(typed, seen=key.changed_at.isoformat())


def as_it_is(key: HeldKey, budget: Budget | None) -> ChangedKeyForm:
    """Return the form that changes nothing."""
    return ChangedKeyForm(
        seen=key.changed_at.isoformat(),
        name=key.name,
        scopes=msgspec.convert(key.scopes, KeyScopes),
        integers=key.token_ids_from or "refuse",
        truncate=key.truncate or "refuse",
        budget=money(budget.limit_nanos).replace(",", "") if budget else "",
        budget_period=budget.period if budget else "month",
    )
