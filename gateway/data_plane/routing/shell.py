"""What the core asks of the world: `pool` in production, virtual time in the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.data_plane.routing.request import Attempt
    from gateway.data_plane.routing.worker import Worker


class Shell(Protocol):
    """None of these may call the core back at once."""

    def launch(self, attempt: Attempt) -> None:
        """Make the call; tell `succeed` or `fail` how it ended."""
        ...

    def abandon(self, attempt: Attempt) -> None:
        """Close the call: nobody waits for it."""
        ...

    def examine(self, worker: Worker) -> None:
        """Look at this worker now: something about it is suspicious."""
        ...

    def changed(self, worker: Worker) -> None:
        """Tell who wants to know that a worker changed its state; `worker.reason` says why."""
        ...

    def wake(self, at: float) -> None:
        """Call `pump` at this time; an earlier one that was asked for stays."""
        ...
