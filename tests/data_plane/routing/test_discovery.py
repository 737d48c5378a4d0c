"""Workers appear and vanish; what can't be looked up removes nobody."""

import asyncio
import hmac
import json
import socket
import time
from ipaddress import ip_network

import pytest

from backends.authentication import authority_of, derive_key, sign_announcement, sign_time
from backends.guests import GuestNetworks, NotForGuests, parse_networks
from backends.registry import UnknownBackend
from gateway.data_plane.routing.discovery import dns, listed
from gateway.data_plane.routing.discovery import provider as discovery
from gateway.data_plane.routing.discovery.dns import DnsName
from gateway.data_plane.routing.discovery.provider import News, StaticList, follow
from gateway.data_plane.routing.discovery.registrations import (
    LEASE_SECONDS,
    WORKERS_MAX,
    RegistrationRefused,
    Registrations,
    WrongTime,
)

SECRET = b"not a real secret"
ANYWHERE = GuestNetworks([ip_network("0.0.0.0/0"), ip_network("::/0")], own_ports=frozenset({8080}))


def sign(secret: bytes, body: bytes) -> str:
    """Sign as the worker at the body's address does."""
    try:
        authority = authority_of(json.loads(body)["url"])
    except ValueError:  # no address that any worker has
        authority = "nobody:1"
    return sign_announcement(derive_key(secret, authority), body)


class Members:
    def __init__(self) -> None:
        self.here: set[str] = set()
        self.news = asyncio.Event()

    def add(self, url: str, **_: object) -> None:
        self.here.add(url)
        self.news.set()

    def remove(self, url: str) -> None:
        self.here.discard(url)
        self.news.set()


class Scripted:
    """A provider that says what the test puts into it."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[News] = asyncio.Queue()

    async def watch(self):
        while True:
            yield await self.news.get()
            self.news.task_done()


class Resolver:
    """Answers in turn; the last one for ever. None: the lookup fails."""

    def __init__(self, *answers: set[str] | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> frozenset[str]:
        assert (host, port) == ("workers", 8000)
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise OSError("no name server answers")
        return frozenset(answer)


async def news_of(resolver: Resolver, lookups: int) -> list[News]:
    found: list[News] = []

    async def collect():
        name = DnsName("workers", 8000, poll_seconds=0.0, resolve=resolver)
        async for news in name.watch():
            found.append(news)  # noqa: PERF401 - each as it comes

    task = asyncio.create_task(collect())
    async with asyncio.timeout(20):
        while resolver.asked <= lookups:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return found


async def test_a_static_list_is_all_there_ever_is():
    assert [news async for news in StaticList(["a", "b"]).watch()] == [
        News("a", here=True),
        News("b", here=True),
    ]


async def test_a_worker_stays_until_the_last_provider_lets_it_go():
    members, one, other = Members(), Scripted(), Scripted()
    task = asyncio.create_task(follow(members, [one, other, StaticList(["s"])]))
    for provider in (one, other):
        provider.news.put_nowait(News("w", here=True))
    one.news.put_nowait(News("w", here=False))
    await one.news.join()
    await other.news.join()
    assert members.here == {"w", "s"}
    other.news.put_nowait(News("w", here=False))
    await other.news.join()
    assert members.here == {"s"}
    task.cancel()
    await asyncio.wait([task])


async def test_each_address_is_a_worker():
    found = await news_of(Resolver({"10.0.0.1", "fd00::1"}), 3)
    assert found == [
        News(f"http://{address}:8000", here=True, name="workers:8000")
        for address in ("10.0.0.1", "[fd00::1]")
    ]


async def test_an_address_must_be_missing_twice():
    one, both = {"10.0.0.1"}, {"10.0.0.1", "10.0.0.2"}
    assert len(await news_of(Resolver(both, one, both, one, both), 6)) == 2
    gone = await news_of(Resolver(both, one, one), 4)
    assert gone[2:] == [News("http://10.0.0.2:8000", here=False)]


async def test_an_outage_of_dns_removes_nobody():
    assert len(await news_of(Resolver({"10.0.0.1"}, None, None, None, {"10.0.0.1"}), 8)) == 1


async def test_a_name_without_addresses_has_no_workers():
    found = await news_of(Resolver({"10.0.0.1"}, set()), 5)
    assert found[1:] == [News("http://10.0.0.1:8000", here=False)]


@pytest.mark.parametrize(
    ("number", "outcome"), [(socket.EAI_NONAME, "empty"), (socket.EAI_AGAIN, "unknown")]
)
async def test_no_such_name_is_not_the_same_as_no_answer(monkeypatch, number, outcome):
    async def fail(*_, **__):
        raise socket.gaierror(number, "said the resolver")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    if outcome == "empty":
        assert await dns.system_resolve("workers", 8000) == frozenset()
    else:
        with pytest.raises(OSError, match="said the resolver"):
            await dns.system_resolve("workers", 8000)


class Office:
    """Registrations with clocks that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.leases = Registrations(
            [SECRET], ANYWHERE, clock=lambda: self.now, wall_clock=lambda: self.now + 1e9
        )

    def announce(self, url="http://gpu:1", *, secret=SECRET, ago=0.0, **more):
        said = {"model": "m", "url": url, "issued_at": self.now + 1e9 - ago, **more}
        body = json.dumps(said).encode()
        return self.leases.announce(body, sign(secret, body))


@pytest.fixture
def office() -> Office:
    return Office()


def test_a_lease_ends_unless_it_is_repeated(office):
    office.announce()
    office.now += LEASE_SECONDS - 1
    office.announce()
    office.now += LEASE_SECONDS - 1
    assert set(office.leases.live("m")) == {"http://gpu:1"}
    assert not office.leases.live("another")
    office.now += 2
    assert not office.leases.live("m")


def test_a_worker_may_leave(office):
    office.announce()
    office.now += 1
    office.announce(leaving=True)
    assert not office.leases.live("m")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"secret": b"guessed"}, "signature"),
        ({"ago": 31.0}, "too long ago"),
        ({"ago": -2.1}, "clocks differ"),
        ({"url": "file:///etc/passwd"}, "http"),
        ({"url": "http://" + "x" * 600}, "too long"),
        ({"model": 7}, "Expected `str`"),
        ({"surprise": 1}, "surprise"),
        ({"model": "m" * 5000}, "bytes"),
    ],
)
def test_what_is_not_believed(office, more, reason):
    with pytest.raises(RegistrationRefused, match=reason):
        office.announce(**more)
    assert not office.leases.live("m")


def test_a_worker_speaks_for_itself_alone(office):
    """Its key signs no announcement of another's, least of all that the other leaves."""
    office.announce("http://honest:1")
    said = {"model": "m", "url": "http://honest:1", "issued_at": office.now + 1e9, "leaving": True}
    body = json.dumps(said).encode()
    key = derive_key(SECRET, "other:1")
    with pytest.raises(RegistrationRefused, match="key of http://honest:1"):
        office.leases.announce(body, sign_announcement(key, body))
    assert set(office.leases.live("m")) == {"http://honest:1"}


def test_a_worker_of_a_version_with_one_secret_for_all_is_told_to_upgrade(office):
    body = json.dumps({"model": "m", "url": "http://gpu:1", "issued_at": office.now + 1e9}).encode()
    with pytest.raises(RegistrationRefused, match="upgrade"):
        office.leases.announce(body, hmac.digest(SECRET, body, "sha256").hex())


@pytest.mark.parametrize("theirs", [(b"old",), (b"new",), (b"new", b"old"), (b"none", b"old")])
def test_while_the_secret_is_rotated_each_signature_counts(office, theirs):
    office.leases._secrets = [b"new", b"old"]
    said = {"model": "m", "url": "http://gpu:1", "issued_at": office.now + 1e9}
    body = json.dumps(said).encode()
    office.leases.announce(body, ",".join(sign(secret, body) for secret in theirs))
    assert set(office.leases.live("m")) == {"http://gpu:1"}
    late = json.dumps(said | {"issued_at": 0}).encode()
    with pytest.raises(RegistrationRefused, match="not made with the key"):
        office.leases.announce(late, ",".join([sign(b"none", late)] * 9))
    signature = ",".join(sign(secret, late) for secret in theirs)
    told = office.leases.time_for(late, signature, "http://gpu:1")
    proofs = [sign_time(derive_key(one, "gpu:1"), late, told["x-time"]) for one in theirs]
    assert told["x-time-signature"] in proofs


def test_a_worker_whose_clock_is_wrong_is_told_the_time(office):
    with pytest.raises(WrongTime) as refused:
        office.announce(ago=-600.0)
    key = derive_key(SECRET, "gpu:1")
    signature = sign_announcement(key, b"what it said")
    told = office.leases.time_for(b"what it said", signature, refused.value.url)
    assert float(told["x-time"]) == office.now + 1e9
    assert told["x-time-signature"] == sign_time(key, b"what it said", told["x-time"])


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254", "http://[fe80::1]:9000",
        "http://100.100.100.200", "http://[fd00:ec2::254]", "http://0.0.0.0:9000",
        "http://224.0.0.1:9000", "http://127.0.0.1:8080", "http://[::1]:8080",
    ],
)  # fmt: skip
def test_no_setting_lets_a_worker_be_there(office, url: str):
    with pytest.raises(RegistrationRefused, match=r"no worker can be|gateway's own"):
        office.announce(url)


def test_workers_announce_themselves_in_allowed_networks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backends.guests._is_own", lambda *_: False)
    private = GuestNetworks(parse_networks("10.0.0.0/8 fd00::/8"), own_ports=frozenset())
    assert private.refusal("10.1.2.3", 9000) == private.refusal("fd00::1", 9000) == ""
    for address in ("127.0.0.1", "8.8.8.8", "192.168.1.1", "::1"):
        assert "GATEWAY_WORKER_NETWORKS" in private.refusal(address, 9000)
    assert "169.254.169.254" in private.refusal("::ffff:169.254.169.254", 80)
    assert private.refusal_of_host("a-name", 9000) == "", "a name is judged when it is looked up"
    with pytest.raises(NotForGuests, match=r"8\.8\.8\.8"):
        private.allowed(["8.8.8.8"], 9000)
    assert private.allowed(["8.8.8.8", "10.0.0.1"], 9000) == "10.0.0.1"


def test_a_gateway_s_own_address_is_no_worker_s(monkeypatch: pytest.MonkeyPatch):
    anywhere = GuestNetworks(parse_networks("0.0.0.0/0"), own_ports=frozenset())
    assert anywhere.refusal("127.0.0.1", 9000) == ""
    monkeypatch.setattr("backends.guests._is_own", lambda ip, _: str(ip) == "10.0.0.1")
    assert "own" in anywhere.refusal("10.0.0.1", 9000)
    assert anywhere.refusal("10.0.0.2", 9000) == ""


def test_an_announcement_can_not_be_played_again(office):
    office.announce(ago=1.0)
    with pytest.raises(RegistrationRefused, match="newer"):
        office.announce(ago=1.5)
    office.announce(leaving=True)
    with pytest.raises(RegistrationRefused, match="newer"):
        office.announce(ago=0.5)


def test_one_announcement_may_come_twice_and_extends_nothing(office):
    body = json.dumps({"model": "m", "url": "http://gpu:1", "issued_at": office.now + 1e9}).encode()
    for _ in range(2):
        assert office.leases.announce(body, sign(SECRET, body)).url == "http://gpu:1"
        office.now += LEASE_SECONDS - 1
    assert not office.leases.live("m")
    other = body.replace(b'"m"', b'"n"')
    with pytest.raises(RegistrationRefused, match="newer"):
        office.leases.announce(other, sign(SECRET, other))


@pytest.mark.parametrize(
    "url", ["http://gpu:80", "http://gpu/", "HTTP://GPU", "http://Gpu:80/", "http://gpu"]
)
def test_a_worker_has_one_url(office, url: str):
    assert office.announce(url).url == "http://gpu"
    assert set(office.leases.live("m")) == {"http://gpu"}


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1", "http://gpu:99999", "http://gpu:x", "http://gpu/v1", "http://gpu?a=1",
        "http://gpu#a", "http://me@gpu:1", "http://[v1.x]:1",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_worker_is_refused(office, url: str):
    with pytest.raises(RegistrationRefused):
        office.announce(url)


def test_what_others_passed_on_is_kept_while_they_can_t_be_heard(office):
    def pass_on(url: str) -> None:
        said = {"model": "m", "url": url, "issued_at": office.now + 1e9}
        body = json.dumps(said).encode()
        office.leases.announce(body, sign(SECRET, body), passed_on=True)

    pass_on("http://over")
    office.now += LEASE_SECONDS + 1
    pass_on("http://passed-on")
    office.announce("http://direct")
    office.leases.hearing(others=False)
    office.now += 10 * LEASE_SECONDS
    assert set(office.leases.live("m")) == {"http://passed-on"}
    office.leases.hearing(others=True)
    office.now += LEASE_SECONDS - 1
    assert set(office.leases.live("m")) == {"http://passed-on"}
    office.now += 2
    assert not office.leases.live("m")


def test_leases_are_bounded_and_dead_ones_are_dropped(office):
    for number in range(WORKERS_MAX):
        office.announce(f"http://gpu{number}:1")
    with pytest.raises(RegistrationRefused, match="already"):
        office.announce("http://one-more:1")
    office.now += 60
    office.announce("http://one-more:1")
    assert set(office.leases.live("m")) == {"http://one-more:1"}


async def test_a_pool_follows_the_leases():
    clock = time.monotonic
    leases, members = Registrations([SECRET], ANYWHERE, wall_clock=clock), Members()
    task = asyncio.create_task(follow(members, [leases.provider("m")]))

    async def say(**more):
        members.news.clear()
        body = json.dumps(
            {"model": "m", "url": "http://w:1", "issued_at": clock(), **more}
        ).encode()
        leases.announce(body, sign(SECRET, body))
        async with asyncio.timeout(20):
            await members.news.wait()

    await say()
    assert members.here == {"http://w:1"}
    await say(leaving=True)
    assert members.here == set()
    task.cancel()
    await asyncio.wait([task])


async def test_an_announcement_wakes_the_pools_of_its_model_and_no_other(office: Office):
    looked = []
    live = office.leases.live
    office.leases.live = lambda model: looked.append(model) or live(model)
    pools = {model: Members() for model in ("m", "n", "o")}
    tasks = [
        asyncio.create_task(follow(pool, [office.leases.provider(model)]))
        for model, pool in pools.items()
    ]
    office.announce(ago=1.0)
    async with asyncio.timeout(20):
        await pools["m"].news.wait()
    looked.clear()
    office.announce(model="n")  # the same worker, now of another model
    async with asyncio.timeout(20):
        await pools["n"].news.wait()
        while pools["m"].here:
            await asyncio.sleep(0)
    assert pools["n"].here == {"http://gpu:1"}
    assert "o" not in looked
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_worker_that_falls_silent_is_let_go(monkeypatch):
    monkeypatch.setattr("gateway.data_plane.routing.discovery.registrations.LEASE_SECONDS", 0.05)
    clock = time.monotonic
    leases, members = Registrations([SECRET], ANYWHERE, wall_clock=clock), Members()
    task = asyncio.create_task(follow(members, [leases.provider("m")]))
    body = json.dumps({"model": "m", "url": "http://w:1", "issued_at": clock()}).encode()
    leases.announce(body, sign(SECRET, body))
    async with asyncio.timeout(20):
        for expected in ({"http://w:1"}, set()):
            await members.news.wait()
            members.news.clear()
            assert members.here == expected
    task.cancel()
    await asyncio.wait([task])


async def test_one_bad_address_ends_nobody_s_discovery(monkeypatch: pytest.MonkeyPatch):
    """Neither the other addresses, nor the other providers, nor its own provider's later news."""
    monkeypatch.setattr(discovery, "RESTART_SECONDS", 0.01)

    class Choosy(Members):
        def add(self, url: str, **_: object) -> None:
            if "bad" in url:
                raise UnknownBackend(url)
            super().add(url)

    class Failing:
        runs = 0

        async def watch(self):
            self.runs += 1
            yield News(f"http://failing:{self.runs}", here=True)
            if self.runs < 3:
                raise RuntimeError("a provider's own mistake")

    members, scripted, failing = Choosy(), Scripted(), Failing()
    task = asyncio.create_task(
        follow(members, [StaticList(["http://bad", "http://good"]), scripted, failing])
    )
    await scripted.news.put(News("http://bad", here=True))
    await scripted.news.put(News("http://later", here=True))
    await scripted.news.put(News("http://bad", here=False))
    await scripted.news.join()
    async with asyncio.timeout(20):
        while failing.runs < 3:
            await asyncio.sleep(0.01)
    assert not task.done()
    assert members.here == {
        "http://good", "http://later", *(f"http://failing:{run}" for run in (1, 2, 3))
    }  # fmt: skip
    task.cancel()
    await asyncio.wait([task])


async def test_a_name_s_path_and_options_are_those_of_each_worker():
    async def resolve(host: str, port: int) -> frozenset[str]:
        assert (host, port) == ("workers", 80)
        return frozenset({"10.0.0.1", "fd00::1"})

    found = listed.provider("dns+tei+http://workers:80/prefix?vocabulary=/v.txt&tokens_max=512")
    found._resolve = resolve
    news = found.watch()
    assert {(await anext(news)).url for _ in range(2)} == {
        "tei+http://10.0.0.1:80/prefix?vocabulary=/v.txt&tokens_max=512",
        "tei+http://[fd00::1]:80/prefix?vocabulary=/v.txt&tokens_max=512",
    }
    await news.aclose()
