"""Workers over TLS: the round trip, what is wrong said so that an operator can mend it."""

import asyncio
import os
import ssl
import struct
import sys
import time
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
from yarl import URL

from backends import registry
from backends.adapters.dialing import Dialer
from backends.adapters.hop import HopBackend
from backends.adapters.trust import Trust
from backends.fake import vector
from backends.guests import GuestNetworks, NotForGuests
from backends.options import Options
from backends.process import _configured, _Server
from backends.protocol import TokenRow, WorkerFailed, WorkerUnreachable
from gateway.data_plane.routing.examination import PoolSpec
from gateway.data_plane.routing.router import Router
from testing.certificates import Authority
from testing.processes import Process
from tests.backends.adapters.proving import INFO, KEY, NAME, SECRET, Between, Worker, asking

HOST = NAME.partition(":")[0]
ROWS = [TokenRow(struct.pack("<2I", 101, 102), 2)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def embed(backend: HopBackend) -> list[bytes]:
    return [bytes(v) for v in await backend.embed(ROWS, timeout_seconds=10)]


async def test_the_round_trip(authority: Authority):
    """Signed and hidden: who listens sees neither the ids nor the vector."""
    async with (
        Worker().listening(*authority.certify(HOST)) as worker,
        Between(worker.port).listening() as between,
        asking(between.port, scheme="https", authority=authority.path) as backend,
    ):
        heard: list[bytes] = []
        between.answer = lambda data: heard.append(data) or data
        assert await backend.info(timeout_seconds=10) == INFO
        assert backend.certificate_ends_at == pytest.approx(time.time() + 86_400, abs=7200)
        assert await embed(backend) == await embed(backend) == [vector(ROWS[0].ids, 2)]
        assert ROWS[0].ids not in b"".join(between.asked)
        assert vector(ROWS[0].ids, 2) not in b"".join(heard)


@pytest.mark.parametrize(
    ("host", "days", "known", "reason"),
    [
        (HOST, 1, False, "certificate in certificate chain|issuer certificate"),
        (HOST, 0, True, "certificate has expired"),
        ("another", 1, True, "not valid for 'gpu-7'"),
    ],
    ids=["wrong authority", "expired", "wrong host"],
)
async def test_a_wrong_certificate_is_named_in_the_list_of_workers(
    authority: Authority, tmp_path: Path, host: str, days: int, known: bool, reason: str
):
    pinned = authority if known else Authority(tmp_path, "stranger")
    certified = authority.certify(host, days=days, file=f"{host}-{days}")
    trust = Trust(SECRET, authority=pinned.path)
    router = Router(partial(registry.connect, trust=trust))
    async with Worker().listening(*certified) as worker:
        pool, told = router.serve(PoolSpec(model="m")), asyncio.Event()
        router.pools["m"]._observe = lambda *_: told.set()
        pool.add(f"https://127.0.0.1:{worker.port}", name=NAME)
        async with asyncio.timeout(20):
            await told.wait()
        (seen,) = pool.workers()
        await router.close()
    assert f"https://127.0.0.1:{worker.port}: TLS: " in seen.reason
    assert "GATEWAY_WORKER_CA" in seen.reason
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(seen.reason)


async def test_a_worker_without_tls_is_told_from_one_with_it(authority: Authority):
    async with (
        Worker().listening() as worker,
        asking(worker.port, scheme="https", authority=authority.path) as backend,
    ):
        with pytest.raises(WorkerUnreachable, match=r"TLS: .*--tls-cert"):
            await embed(backend)


async def test_a_stock_engine_must_have_a_certificate_of_the_authority_too(
    authority: Authority, tmp_path: Path
):
    trust = Trust(authority=Authority(tmp_path, "stranger").path)
    async with Worker().listening(*authority.certify("127.0.0.1")) as worker:
        url = f"openai+https://127.0.0.1:{worker.port}?revision=r1"
        engine = registry.connect(url, trust)
        with pytest.raises(WorkerUnreachable, match="GATEWAY_WORKER_CA"):
            await engine.info(timeout_seconds=10)
        await engine.close()
        engine = registry.connect(url, Trust(authority=authority.path))
        with pytest.raises(Exception, match="404"):  # a worker of ours: but the connection is made
            await engine.info(timeout_seconds=10)
        await engine.close()


async def test_a_new_certificate_serves_new_connections(authority: Authority):
    """Without a restart, and a file that is half written changes nothing."""
    certified = authority.certify("old", file="rolled")
    options = Options(tls_cert=certified.cert, tls_key=certified.key)
    worker = Worker()
    server = _Server(_configured(worker.app, options), worker.app, options)
    context = server.config.ssl
    assert context is not None

    async def host_of_new_connections() -> str:
        client = ssl.create_default_context(cafile=authority.path)
        client.check_hostname = False
        listener = await asyncio.start_server(
            lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        found = writer.get_extra_info("peercert")["subjectAltName"][0][1]
        writer.close()
        listener.close()
        return str(found)

    assert await host_of_new_connections() == "old"
    certified.cert.write_text("half")
    os.utime(certified.cert, (1, 1))  # clocks of file systems are coarse
    server._read_certificate()
    assert await host_of_new_connections() == "old"
    made = authority.certify("new", file="made")
    made.cert.replace(certified.cert)  # and not its key yet
    server._read_certificate()
    assert await host_of_new_connections() == "old"
    made.key.replace(certified.key)
    server._read_certificate()
    assert await host_of_new_connections() == "new"


def test_a_new_authority_is_read_without_a_restart(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = iter(range(9))  # the run shares its contexts otherwise
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: next(made))
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.path.read_bytes())
    trust = Trust(authority=path)
    assert trust.tls() == trust.tls() == 0
    path.write_bytes(Authority(tmp_path, "next").path.read_bytes())
    os.utime(path, (1, 1))  # clocks of file systems are coarse
    assert trust.tls() == 1


def test_files_that_are_no_certificate_are_refused_at_the_start(tmp_path: Path):
    (tmp_path / "x.pem").write_text("x")
    options = Options(tls_cert=tmp_path / "x.pem", tls_key=tmp_path / "none.key")
    with pytest.raises(SystemExit, match="--tls-cert"):
        _configured(Worker().app, options)


async def test_the_process_of_a_worker_serves_tls_and_demands_its_key(authority: Authority):
    certified = authority.certify(HOST, file="process")
    command = [
        *(sys.executable, "-m", "backends.fake", "--dimensions", "2"),
        *("--tls-cert", str(certified.cert), "--tls-key", str(certified.key)),
        *("--announce-as", f"https://{NAME}"),
    ]
    process = Process(command, {**os.environ, "GATEWAY_WORKER_KEY": KEY.hex()})
    try:
        port = URL(process.url).port
        assert process.url == f"https://127.0.0.1:{port}"
        async with asking(port, scheme="https", authority=authority.path) as backend:
            assert await embed(backend) == [vector(ROWS[0].ids, 2)]
        stranger = HopBackend(process.url, Trust(authority=authority.path), name="127.0.0.1:1")
        stranger._connections._dialer._known_as = HOST
        with pytest.raises(WorkerFailed, match=r"401.*GATEWAY_WORKER_SECRET"):
            await stranger.info(timeout_seconds=10)
        await stranger.close()
    finally:
        process.close()


async def test_a_guest_s_name_may_lead_to_no_forbidden_address():
    """A name is judged by where it leads when it is connected to, not by what it said before."""
    guests = GuestNetworks([ip_network("10.0.0.0/8")], own_ports=frozenset())
    trust = Trust(SECRET, guests=guests)
    async with Worker(demanding=False).listening() as worker:
        url = f"http://localhost:{worker.port}"
        with pytest.raises(NotForGuests, match="GATEWAY_WORKER_NETWORKS"):
            await Dialer(url, trust, guest=True).connect(asyncio.Protocol)
        guest = HopBackend(url, trust, guest=True)
        with pytest.raises(WorkerUnreachable, match="GATEWAY_WORKER_NETWORKS"):
            await embed(guest)
        await guest.close()
        listed = HopBackend(url, trust)
        assert (await listed.info(timeout_seconds=10)).model == "m"
        await listed.close()
