"""Second opinions: the same row at several workers, and which workers the answers disprove.

A worker that lies must not know when it is tested. So now and then a call of real work carries an
extra row, at a random place and with the call's own dimensions: a golden row, or a row of real work
that another worker computed recently. Its vector is compared and delivered to nobody. Examinations
use such rows too, among the golden ones.

- A worker that disagrees with a golden row, or with two workers, is disproved.
- Two workers that disagree are both in doubt: the next call to a third one carries that row, and
  both are examined with rows that two workers agreed on before.
- A worker gets the same row at most twice, so that learning rows gains nothing.

Only rows of a revision with golden rows are compared: those define how close counts as equal.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from backends.protocol import TokenRow, WorkerFault, WorkerInfo
from gateway.data_plane.routing.worker import Worker
from gateway.snapshots import GoldenRow

COSINE_MIN = 0.995
"""Least cosine between a vector and the golden one, where the golden row names no other."""
ROWS_MAX = 64
"""Rows of real work that are kept, with their vectors."""
RIDE_SHARE = 0.01
"""Share of all tokens spent on rows that ride along."""
EXAMINED_ROWS = 3
"""Rows of real work in one examination."""

ROW_TOKENS_MAX = 512
"""Longer rows are not kept: they would delay the call that they ride along in."""
_GOLDEN_SHARE = 0.25
"""Share of golden rows among those that ride along, if there are others."""
_SIGHTINGS_MAX = 2
"""How often one worker gets the same row from us."""
_URGENT_RIDES = 64
"""Calls that are looked at for the third worker of a dispute; then there is none."""


class Witnesses:
    """The rows of one pool whose vectors are known, from the reference or from workers."""

    def __init__(
        self,
        random: random.Random,
        disprove: Callable[[Worker, str], None],
        examine: Callable[[Worker], None],
        counts: Counter[str],
    ) -> None:
        """`disprove` takes a liar out, `examine` has a worker in doubt examined."""
        self.ride_at = math.inf
        """The next row rides along when so many tokens were sent."""
        self.urgent = 0
        """Calls that are looked at for a rider out of turn: for a dispute, or rows are wanted."""
        self._wanted = 0
        """Rows that are to ride along out of turn, so that others are kept."""
        self._random = random
        self._disprove = disprove
        self._examine = examine
        self._counts = counts
        self._golden: dict[tuple[str, int], list[Testimony]] = {}
        self._least: dict[str, float] = {}
        self._rows: deque[Testimony] = deque(maxlen=ROWS_MAX)

    def expect(self, golden: Mapping[str, Sequence[GoldenRow]]) -> None:
        """Take other golden rows, by revision; earlier answers no longer count."""
        self._rows.clear()
        self._golden.clear()
        self.ride_at = 0.0 if golden else math.inf
        self._least = {
            revision: min(row.cosine_min or COSINE_MIN for row in rows)
            for revision, rows in golden.items()
            if rows
        }
        for revision, rows in golden.items():
            for row in rows:
                for dimensions, vector in row.vectors.items():
                    claim = Claim(bytes(vector), [])
                    least = row.cosine_min or COSINE_MIN
                    known = Testimony(TokenRow(row.ids, dimensions), least, [claim], claim)
                    self._golden.setdefault((revision, dimensions), []).append(known)

    def rider(self, worker: Worker, rows: Sequence[TokenRow], sent_tokens: int) -> Rider | None:
        """Return the row that rides along in a call; None: the call carries none."""
        self.urgent = max(0, self.urgent - 1)
        dimensions = rows[0].dimensions
        fresh = [
            known
            for known in self._askable(worker, worker.revision)
            if known.row.dimensions == dimensions
        ]
        chosen = [known for known in fresh if known.is_disputed]
        if not chosen and (sent_tokens >= self.ride_at or self._wanted):
            self._wanted = max(0, self._wanted - 1)
            golden = self._golden.get((worker.revision, dimensions), [])
            rather = self._random.random() < _GOLDEN_SHARE
            chosen = golden if golden and (rather or not fresh) else fresh
        if not chosen:
            self.ride_at = max(self.ride_at, sent_tokens + ROW_TOKENS_MAX)
            return None
        known = self._random.choice(chosen)
        if known.revision:
            known.sightings[worker] += 1
        between = known.row.tokens / RIDE_SHARE
        self.ride_at = sent_tokens + between * self._random.uniform(0.5, 1.5)
        self._counts["riders"] += 1
        return Rider(known, self._random.randint(0, len(rows)))

    def heard(
        self,
        rider: Rider,
        worker: Worker,
        rows: Sequence[TokenRow],
        vectors: Sequence[memoryview],
    ) -> tuple[str, Sequence[memoryview]]:
        """Take the answer to a call with a rider: returns why it is a lie, and the other vectors.

        One of the other rows is kept, to be asked elsewhere.
        """
        known, place = rider
        lie = self.compare(known, worker, vectors[place])
        if not lie:
            self._keep(worker, rows, vectors, (place + 1) % len(rows))
        return lie, [*vectors[:place], *vectors[place + 1 :]]

    def compare(self, known: Testimony, worker: Worker, vector: memoryview) -> str:
        """Compare a worker's answer with what is known; returns why it is a lie, if it is.

        Others that it disproves are taken out; those in doubt are examined.
        """
        verdict = self._verdict(known, worker, vector)
        for liar, reason in verdict.guilty.items():
            liar.disproved = True
            self._counts["disproved"] += 1
            if liar is not worker:
                self._disprove(liar, reason)
        if verdict.doubtful:
            self.urgent = _URGENT_RIDES
            self._counts["disputes"] += 1
            for doubtful in verdict.doubtful:
                self._examine(doubtful)
        return verdict.guilty.get(worker, "")

    def _keep(
        self, worker: Worker, rows: Sequence[TokenRow], vectors: Sequence[memoryview], index: int
    ) -> None:
        least = self._least.get(worker.revision)
        if least is not None and rows[index].tokens <= ROW_TOKENS_MAX:
            kept = Testimony(rows[index], least, [Claim(bytes(vectors[index]), [worker])])
            kept.revision, kept.by, kept.since = worker.revision, worker, worker.healthy_since
            self._rows.append(kept)

    def questions(self, worker: Worker, info: WorkerInfo) -> list[Testimony]:
        """Return rows for the examination of a worker: what it answers is for `compare`.

        One that was disproved gets rows that it never saw, one at a time, and each time.
        """
        rows = [
            known
            for known in self._askable(worker, info.revision)
            if known.row.dimensions in info.dimensions
            and (worker.ready or worker.disproved or known.truth is not None)
        ]
        if worker.disproved:
            rows = [known for known in rows if not known.sightings[worker]]
        if worker.disproved and len(rows) < EXAMINED_ROWS:
            self.urgent = self._wanted = 2 * EXAMINED_ROWS
        chosen = self._random.sample(rows, min(1 if worker.disproved else EXAMINED_ROWS, len(rows)))
        for known in chosen:
            known.sightings[worker] += 1
        return chosen

    def _verdict(self, known: Testimony, worker: Worker, vector: memoryview) -> Verdict:
        """Say whom an answer disproves. A worker that isn't ready can only disprove itself."""
        truth = known.truth
        claims = known.claims if truth is None else [truth]
        fits = [claim for claim in claims if cosine(claim.vector, vector) >= known.least]
        if truth is not None or not worker.ready:
            return Verdict({} if fits else {worker: known.reason(vector)}, ())
        if fits:
            fits[0].workers.append(worker)
        else:
            known.claims.append(Claim(bytes(vector), [worker]))
        known.truth = truth = _agreed(known.claims)
        if truth is None:
            return Verdict({}, tuple(known.witnesses) if known.is_disputed else ())
        liars = [claim for claim in known.claims if claim is not truth]
        known.claims = [truth]
        return Verdict(
            {liar: known.reason(claim.vector) for claim in liars for liar in claim.workers}, ()
        )

    def _askable(self, worker: Worker, revision: str) -> Iterator[Testimony]:
        """Yield the rows that a worker may be asked, to learn something or to see if it lies."""
        for known in self._rows:
            settled = known.truth is not None
            if (
                known.revision == revision
                and known.sightings[worker] < (_SIGHTINGS_MAX if settled else 1)
                and (settled or (known.stands and worker not in known.witnesses))
            ):
                yield known


def _agreed(claims: Sequence[Claim]) -> Claim | None:
    """Return what most workers say, if at least two say it."""
    first, *others = sorted(claims, key=lambda claim: -len(claim.workers))
    second = len(others[0].workers) if others else 1
    return first if len(first.workers) > second else None


class Claim(NamedTuple):
    """A vector, and the workers that gave it."""

    vector: bytes
    workers: list[Worker]


@dataclass(slots=True, eq=False)
class Testimony:
    """One row, and what workers say its vector is."""

    row: TokenRow
    least: float
    """Least cosine of two vectors that are the same."""
    claims: list[Claim]
    truth: Claim | None = None
    """What the reference says, or two workers at least."""
    revision: str = ""
    """Of a row of real work."""
    by: Worker | None = None
    """Who gave the first vector of a row of real work."""
    since: float = 0.0
    """Since when that worker was ready at the time."""
    sightings: Counter[Worker] = field(default_factory=Counter)
    """How often we asked each worker."""

    @property
    def is_disputed(self) -> bool:
        """Whether workers disagree and none is disproved yet."""
        return len(self.claims) > 1

    @property
    def stands(self) -> bool:
        """Whether the first vector's worker was never out since; otherwise it proves nothing."""
        by = self.by
        return by is not None and by.ready and by.healthy_since == self.since

    @property
    def witnesses(self) -> list[Worker]:
        """The workers that gave a vector."""
        return [worker for claim in self.claims for worker in claim.workers]

    def reason(self, vector: memoryview | bytes) -> str:
        """Say why a worker that gave this vector is disproved."""
        best = max(cosine(claim.vector, vector) for claim in self.claims if claim.vector != vector)
        by = "a row that other workers computed" if self.revision else "a golden row"
        return f"disproved by {by}, asked unseen: cosine {best:.4f}"


class Rider(NamedTuple):
    """A row that rides along in a call, and its place there."""

    known: Testimony
    place: int


class Verdict(NamedTuple):
    """Whom an answer disproves, with the reason, and who is in doubt now."""

    guilty: Mapping[Worker, str]
    doubtful: Sequence[Worker]


class Disproved(WorkerFault):
    """Others know a row's vector, and it gave a different one: none of its vectors is trusted."""


def cosine(one: memoryview | bytes, other: memoryview | bytes) -> float:
    """Cosine of two raw float32 vectors; 0 when they can't be compared."""
    left, right = np.frombuffer(one, "<f4"), np.frombuffer(other, "<f4")
    if left.shape != right.shape:
        return 0.0
    with np.errstate(all="ignore"):
        value = (left @ right) / np.sqrt((left @ left) * (right @ right))
    return float(value) if np.isfinite(value) else 0.0
