"""/health/ready: what a load balancer may conclude from it."""

import asyncio

from gateway.data_plane.metering.messages import LedgerUnavailable
from testing.gateways import open_api


async def test_not_ready_while_usage_can_t_be_written_for_long(
    sqlite_database_url, monkeypatch, fake_worker
):
    workers = f"sentence-transformers/all-MiniLM-L6-v2={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, ledger_away_seconds_max=0.2) as api:
        await api.ready()
        assert (await api.embed()).status_code == 200
        assert (await api.http.get("/health/ready")).status_code == 200

        async def away(_tick):
            raise LedgerUnavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(api.gateway.data.ledger, "tick", away)
            async with asyncio.timeout(20):
                while (answer := await api.http.get("/health/ready")).status_code == 200:
                    await asyncio.sleep(0.01)
            assert (answer.status_code, answer.json()["status"]) == (503, "no ledger")
            assert api.gateway.data.credit.away_seconds > 0.2
        async with asyncio.timeout(20):
            while (await api.http.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.01)


async def test_not_ready_while_neither_ledger_nor_journal_takes_anything(
    sqlite_database_url, fake_worker
):
    workers = f"sentence-transformers/all-MiniLM-L6-v2={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers) as api:
        await api.ready()
        api.gateway.data.credit.book.is_closed = True
        answer = await api.http.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "no journal")
        refused = await api.embed()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "credit_unavailable")
        api.gateway.data.credit.book.is_closed = False
        assert (await api.embed()).status_code == 200
