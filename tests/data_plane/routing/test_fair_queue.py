"""Turns between organizations, and between the requests of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data_plane.routing.fair_queue import FairQueue
from gateway.data_plane.routing.request import Request, split
from tests.data_plane.routing.world import row, waiting

SHARD = 100


def request(organization="a", *, tokens=(SHARD,), tier="default") -> Request:
    made = Request(
        organization=organization,
        rows=[row(0, count) for count in tokens],
        deadline=1.0,
        resolve=lambda _: None,
        tier=tier,
    )
    split(made, tokens_max=SHARD, rows_max=1)
    return made


@pytest.fixture
def queue() -> FairQueue:
    return FairQueue()


def take(queue: FairQueue, count: int) -> list[str]:
    return [queue.take().request.organization for _ in range(count)]


def test_a_flood_does_not_delay_another_organization(queue):
    queue.push(request("flooder", tokens=[SHARD] * 50), 0.0)
    take(queue, 10)
    queue.push(request("other"), 0.0)
    assert "other" in take(queue, 2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, SHARD)), max_size=60))
def test_those_who_wait_differ_by_one_shard_at_most(arrivals):
    queue = FairQueue()
    for name in "abc":
        queue.push(request(name, tokens=[SHARD] * 30), 0.0)
    for name, tokens in arrivals:
        queue.push(request(name, tokens=[tokens]), 0.0)
    for _ in range(60):
        counters = [account.counter for account in waiting(queue)]
        assert max(counters) - min(counters) <= SHARD
        queue.take()


def test_flex_gets_half(queue):
    queue.push(request("flex", tokens=[SHARD] * 90, tier="flex"), 0.0)
    queue.push(request("usual", tokens=[SHARD] * 90), 0.0)
    assert take(queue, 30).count("usual") == pytest.approx(20, abs=1)


def test_idling_banks_no_credit(queue):
    queue.push(request("idler"), 0.0)
    take(queue, 1)
    queue.push(request("busy", tokens=[SHARD] * 50), 0.0)
    take(queue, 20)
    queue.push(request("idler", tokens=[SHARD] * 50), 0.0)
    assert take(queue, 20).count("idler") == pytest.approx(10, abs=1)


def test_idling_banks_no_debt_either_way_when_nobody_waits(queue):
    queue.push(request("first", tokens=[SHARD] * 50), 0.0)
    take(queue, 50)
    for name in ("first", "late"):
        queue.push(request(name, tokens=[SHARD] * 20), 0.0)
    assert take(queue, 20).count("late") == pytest.approx(10, abs=1)


def test_a_short_request_does_not_stand_behind_its_own_corpus(queue):
    corpus, short = request(tokens=[SHARD] * 50), request(tokens=[1])
    queue.push(corpus, 0.0)
    queue.take()
    queue.push(short, 0.0)
    assert queue.take().request is short


def test_a_request_is_overtaken_by_its_own_size_at_most(queue):
    corpus = request(tokens=[SHARD] * 5)
    queue.push(corpus, 0.0)
    overtook = 0
    while True:
        queue.push(request(tokens=[SHARD]), 0.0)
        if queue.take().request is corpus:
            break
        overtook += SHARD
    assert overtook <= 5 * SHARD


def test_a_retry_is_not_charged_again_and_goes_first(queue):
    queue.push(request("a", tokens=[SHARD] * 3), 0.0)
    queue.push(request("b", tokens=[SHARD] * 3), 0.0)
    shard = queue.take()
    before = {account.key: account.counter for account in waiting(queue)}
    queue.put_back(shard)
    while queue.take() is not shard:
        pass
    after = {account.key: account.counter for account in waiting(queue)}
    assert (
        after[(shard.request.organization, "default")]
        == before[(shard.request.organization, "default")]
    )


def test_what_is_discarded_never_leaves(queue):
    gone, stays = request("a", tokens=[SHARD] * 2), request("a")
    queue.push(gone, 0.0)
    queue.push(stays, 0.0)
    for shard in gone.shards:
        queue.discard(shard)
        queue.discard(shard)
    assert queue.tokens == SHARD
    assert queue.take().request is stays
    assert queue.peek() is None
    assert queue.peek() is None


def test_what_others_have_waiting_counts_up_to_their_share(queue):
    queue.push(request("flooder", tokens=[SHARD] * 50), 0.0)
    queue.demand.tokens = 0.0
    for account in waiting(queue):
        account.demand.tokens = 0.0
    ahead = queue.tokens_ahead(("new", "default"), SHARD, seconds=1.0, now=0.0)
    assert ahead == 2 * SHARD


def test_idle_accounts_are_forgotten():
    queue = FairQueue()
    for number in range(5000):
        queue.push(request(f"org{number}"), 0.0)
        queue.take()
    assert len(queue._accounts) < 3000


def test_what_is_stepped_over_keeps_its_place(queue):
    queue.push(request("a", tokens=[SHARD] * 2), 0.0)
    first = queue.peek()
    queue.step_over()
    assert queue.peek() is not first
    queue.step_over()
    assert queue.peek() is None
    queue.resume()
    assert queue.peek() is first
    assert queue.tokens == 2 * SHARD


def test_between_equals_who_waited_longer_is_next(queue):
    early = request("returns")
    queue.push(early, 0.0)
    queue.discard(early.shards[0])
    queue.push(request("waits", tokens=[SHARD] * 50), 0.0)
    take(queue, 20)
    queue.push(request("returns"), 0.0)
    assert take(queue, 2) == ["waits", "returns"]
