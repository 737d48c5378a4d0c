"""The silent connection that tells that a stock engine's process ended."""

import asyncio
from pathlib import Path

import pytest

from backends.adapters import lifeline
from backends.adapters.lifeline import Lifeline
from backends.registry import connect
from testing.processes import running
from tests.backends.adapters.scripted import serving


async def ended(silent: Lifeline, times: int) -> int:
    """Hold on so many times, while the other side hangs up each time; count what was told."""
    told = 0
    for _ in range(times):
        lost = asyncio.Event()
        silent.on_lost = lost.set
        await silent.hold()
        if not silent._held:
            break
        silent._held._transport.abort()
        async with asyncio.timeout(10):
            await lost.wait()
        told += 1
    return told


async def test_that_an_engine_s_process_ended_is_told_though_nobody_asked_it(vocabulary: Path):
    name = "tests.backends.standins.vllm"
    with running(name, "--vocabulary", str(vocabulary)) as process:
        backend = connect(f"openai+{process.url}?revision=r1")
        lost = asyncio.Event()
        backend.on_lost = lost.set
        await backend.info(timeout_seconds=10)
        process.kill()
        async with asyncio.timeout(10):
            await lost.wait()
        await backend.close()


async def test_that_we_let_go_is_not():
    async with serving() as server:
        silent = Lifeline(server.url, None, None)
        lost = asyncio.Event()
        silent.on_lost = lost.set
        await silent.hold()
        silent.close()
        async with asyncio.timeout(10):
            await server.left.wait()
        assert not lost.is_set()


async def test_that_we_let_go_while_it_connected_leaves_no_connection():
    async with serving() as server:
        silent = Lifeline(server.url, None, None)
        connecting = asyncio.create_task(silent.hold())
        await asyncio.sleep(0)  # it has begun
        silent.close()
        await connecting
        assert silent._held is None
        async with asyncio.timeout(10):
            await server.left.wait()


async def test_two_at_once_hold_one_connection():
    async with serving() as server:
        silent = Lifeline(server.url, None, None)
        await asyncio.gather(silent.hold(), silent.hold())
        silent.close()
        async with asyncio.timeout(10):
            await server.left.wait()
        assert server.connections == 1


async def test_one_is_enough_and_where_nothing_listens_there_is_none():
    async with serving() as server:
        silent = Lifeline(server.url, None, None)
        await silent.hold()
        held = silent._held
        await silent.hold()
        assert silent._held is held
        silent.close()
    silent = Lifeline("http://127.0.0.1:1", None, None)
    await silent.hold()
    assert silent._held is None


async def test_an_engine_that_ends_it_at_once_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
):
    async with serving() as server:
        silent = Lifeline(server.url, None, None)
        assert await ended(silent, 5) == 3
        monkeypatch.setattr(lifeline, "_BRIEF_SECONDS", 0.0)
        silent._not_before = 0.0
        assert await ended(silent, 5) == 5
