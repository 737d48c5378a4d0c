"""The storm in its short form, and its verdict, which must see what is falsified."""

import asyncpg
import pytest

from benchmarks.storm.books import Books, Verdict
from benchmarks.storm.record import Attempt, Customer, Record, Request
from gateway.identifiers import new_id
from gateway.storage.database import Database
from testing.gateways import Ledger
from testing.processes import said

CREDIT = 10**6


@pytest.mark.long
@pytest.mark.timeout(600)
def test_nothing_is_lost_in_a_short_storm():
    out = said("benchmarks.storm", "--only", "the-short-form", "--seed", "7")
    assert out.endswith("broken: 0\n"), out


class Falsified:
    """One request that was answered and charged, to be falsified in one way."""

    def __init__(self, ledger: Ledger) -> None:
        customer = Customer(ledger.organization_id, ledger.key_id, ledger.secret, CREDIT)
        self.attempt = Attempt(0.0, 0.1, 200, request_id=new_id(), cost_nanos=80)
        self.request = Request(0, inputs=1, tokens=10, attempts=[self.attempt])
        self.record = Record([customer], [self.request])
        self.row = {
            "request_id": self.attempt.request_id, "organization_id": ledger.organization_id,
            "key_id": ledger.key_id, "inputs": 1, "tokens": 10, "cost_nanos": 80,
            "charged_nanos": 80,
        }  # fmt: skip
        self.rows = 1
        self.available = CREDIT - 80
        self._ledger = ledger

    async def verdict(self, connection: asyncpg.Connection) -> Verdict:
        """Judge these rows, and take them back."""
        undone = connection.transaction()
        await undone.start()
        for number in range(self.rows):
            row = self.row if number == 0 else {**self.row, "request_id": new_id()}
            await connection.execute(
                "INSERT INTO usage_events (request_id, organization_id, key_id, inputs, tokens,"
                " cost_nanos, charged_nanos, model_id, price_id, created_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, 'm', $8, now())",
                *row.values(), self._ledger.price_id,
            )  # fmt: skip
        await connection.execute(
            "UPDATE accounts SET available_nanos = $1 WHERE id = $2",
            self.available, self._ledger.organization_id,
        )  # fmt: skip
        verdict = await Books(self.record, {8}).check(connection)
        await undone.rollback()
        return verdict


def no_row(it: Falsified) -> None:
    it.rows, it.available = 0, CREDIT


def other_cost(it: Falsified) -> None:
    it.row["cost_nanos"] = it.row["charged_nanos"] = 88
    it.available = CREDIT - 88


def other_key(it: Falsified) -> None:
    it.row["key_id"] = new_id()


def other_inputs(it: Falsified) -> None:
    it.row["inputs"] = 2


def charged_twice(it: Falsified) -> None:
    it.rows, it.available = 2, CREDIT - 160


def charged_replay(it: Falsified) -> None:
    it.attempt.original_id = new_id()


def charged_error(it: Falsified) -> None:
    it.attempt.status, it.attempt.code = 503, "model_warming"


def refused_key(it: Falsified) -> None:
    it.attempt.status, it.rows, it.available = 401, 0, CREDIT


def wrong_vectors(it: Falsified) -> None:
    it.attempt.wrong = "not the vectors of these inputs"


def lost_balance(it: Falsified) -> None:
    it.available -= 1


def unknown_charge(it: Falsified) -> None:
    """It was charged, and never credited back."""
    it.attempt.status, it.attempt.code = 503, "charge_unknown"


def nothing(_it: Falsified) -> None:
    pass


def unanswered(it: Falsified) -> None:
    it.attempt.status, it.attempt.request_id = 0, ""


def written_off(it: Falsified) -> None:
    it.row["charged_nanos"], it.available = 0, CREDIT


SEEN = {
    no_row: "a 200 has no usage row",
    other_cost: "a row at another cost",
    other_key: "another key's row",
    other_inputs: "a row of other inputs",
    charged_twice: "usage that nobody asked for",
    charged_replay: "a replay was charged",
    charged_error: "an error was charged",
    refused_key: "a good key was refused",
    wrong_vectors: "not the vectors of these inputs",
    lost_balance: "the balance of",
    unknown_charge: "an error was charged",
}
COUNTED = {
    nothing: Verdict(charged=1),
    unanswered: Verdict(charged=1, unasked=1),
    written_off: Verdict(written_off=1),
}


async def test_the_verdict_sees_what_is_falsified(postgresql_database_url: list[str]):
    database = Database(postgresql_database_url[0])
    ledger = await Ledger.create(database, CREDIT)
    await database.close()
    connection = await asyncpg.connect(postgresql_database_url[0])
    for falsify, said_of_it in SEEN.items():
        falsify(it := Falsified(ledger))
        verdict = await it.verdict(connection)
        assert any(said_of_it in line for line in verdict.broken), falsify
    for change, expected in COUNTED.items():
        change(it := Falsified(ledger))
        assert await it.verdict(connection) == expected, change
    await connection.close()
