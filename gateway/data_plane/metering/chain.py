"""The receipts of one process: a tree for each tick, their roots in one chain.

The next root begins only when the ledger has the previous one, since it names its digest. An
unanswered tick is followed by others that carry the same root, until one is answered; requests
settled in the meantime are signed individually. So the ledger never has two ends of one chain.

There is one chain per process, not one for all: each tick must hold its chain's end until it
commits, so with a single chain all processes would commit one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.data_plane.metering.leases import Settlement
from gateway.data_plane.metering.messages import RootLine
from gateway.data_plane.metering.receipts import FIRST, ReceiptSigner


class ReceiptChain:
    """Makes receipts; without a signer, none."""

    def __init__(self, signer: ReceiptSigner | None) -> None:
        self._signer = signer
        self._previous = FIRST
        self._unheard: RootLine | None = None
        """The root that the ledger has not confirmed."""

    def root_of(self, entries: Sequence[Settlement]) -> RootLine | None:
        """Return the root that a tick with these entries carries.

        It covers those that wait for a receipt; one that the journal acknowledged has its own.
        """
        if self._signer is None or self._unheard is not None:
            return self._unheard
        waiting = [entry for entry in entries if not entry.answered]
        if not waiting:
            return None
        batch = self._signer.begin([entry.line for entry in waiting], previous=self._previous)
        for index, entry in enumerate(waiting):
            entry.leaf = batch, index
        self._previous = batch.digest
        self._unheard = batch.root
        return batch.root

    def heard(self) -> None:
        """Handle that the ledger has applied a tick."""
        self._unheard = None

    def receipt(self, entry: Settlement) -> str | None:
        """Return the receipt of an entry that is durable; None: none are made."""
        if self._signer is None:
            return None
        if entry.original_id is not None:  # its leaf, which nobody gets, tells what it would cost
            return self._signer.sign(replace(entry.line, cost_nanos=0))
        if entry.leaf is None or entry.pending:  # the ledger may never get its root
            return self._signer.sign(entry.line)
        batch, index = entry.leaf
        return batch.receipt(index)
