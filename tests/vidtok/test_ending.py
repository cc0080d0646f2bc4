"""How a server ends that is told to: a process of its own, real signals, a model that has learned nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from transport import Role, Session
from transport.adapters.connection import Connection
from transport.adapters.registry import connect
from transport.events import Closed, Connected
from transport.wire import CloseCode
from vidtok.canvas import Grid
from vidtok.entropy import load_tables
from vidtok.errors import ModelError
from vidtok.live.ask import ask_server
from vidtok.live.link import LIVE, codec_hash
from vidtok.live.sender import hello
from vidtok.tokenizer.edge import load_info

# A word takes a while, so that there is an answer in progress.
SERVER = """
import sys, time
from tests.vidtok.test_answerer import answerer
from vidtok.cli import main
from vidtok.model.answerer import Answerer

def slow():
    model = answerer()
    think = model.think
    def thinking(told, askings=()):
        time.sleep(0.05 * len(askings))
        return think(told, askings)
    model.think = thinking
    return model

Answerer.load = slow
sys.exit(main(["serve", "--port", "0", "--also", "ws://127.0.0.1:0", "--json", *sys.argv[1:]]))
"""


class Served:
    """A server process, and the rows that it tells."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.http, self.ws = (str(self.row()["url"]) for _ in range(2))

    def row(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        row: dict[str, Any] = json.loads(self.process.stdout.readline())
        return row

    def rest(self) -> list[dict[str, Any]]:
        """Every row until its end."""
        assert self.process.stdout is not None
        return [json.loads(line) for line in self.process.stdout]


@contextmanager
def served(*options: str) -> Iterator[Served]:
    """A server that listens."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, *options], stdout=subprocess.PIPE, text=True)
    try:
        yield Served(process)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def joined(url: str) -> Connection:
    """A stream that has been greeted."""
    now = asyncio.get_running_loop().time()
    session = Session(
        Role.SENDER, codec_hash=codec_hash(load_tables(), load_info().digest),
        meta=dict(hello(Grid(96, 64), 10.0, "a test")), config=LIVE, now=now, wall_ms=round(time.time() * 1000),
    )  # fmt: skip
    connection = Connection(session, await connect(url))
    connection.start()
    async for event in connection.events():
        if isinstance(event, Connected):
            return connection
    raise AssertionError("never greeted")


async def goodbye(connection: Connection) -> Closed:
    """How the session ends."""
    async for event in connection.events():
        if isinstance(event, Closed):
            return event
    raise AssertionError("no goodbye")


async def answer(url: str, words: list[str]) -> None:
    """Ask; what is heard is gathered in `words`."""
    async for word in ask_server(url, "What is it?"):
        words.append(word)


@asynccontextmanager
async def in_progress(server: Served) -> AsyncIterator[tuple[Connection, asyncio.Task[None], list[str]]]:
    """A stream, a question about it whose answer has begun, and the words that were heard so far; within a minute."""
    words: list[str] = []
    async with asyncio.timeout(60):
        connection = await joined(server.ws)
        asking = asyncio.create_task(answer(server.http, words))
        while not words:
            await asyncio.sleep(0.01)
        yield connection, asking, words
        await connection.close()


def test_told_to_end_it_says_goodbye_lets_nobody_in_and_finishes_its_answer() -> None:
    async def go(server: Served) -> list[str]:
        async with in_progress(server) as (connection, asking, words):
            server.process.send_signal(signal.SIGTERM)
            assert (await goodbye(connection)).code == CloseCode.NORMAL
            heard = len(words)
            with pytest.raises(ModelError, match="cannot be asked"):
                await answer(server.http, [])
            await asking
            assert len(words) > heard
        return words

    with served("--grace-s", "30") as server:
        words = asyncio.run(go(server))
        rows = server.rest()
        assert server.process.wait(30) == 0
    assert [row["event"] for row in rows if row["event"] in ("asked", "ending", "answered")] == [
        "asked", "ending", "answered",
    ]  # fmt: skip
    (answered,) = (row for row in rows if row["event"] == "answered")
    assert (answered["words"], answered["stream"]) == (len(words), "stream 1")
    assert all(row["time"].endswith("Z") for row in rows)
    assert "What is it" not in json.dumps(rows)


def test_an_answer_that_takes_longer_than_the_grace_is_cut() -> None:
    async def go(server: Served) -> None:
        async with in_progress(server) as (_, asking, _):
            server.process.send_signal(signal.SIGINT)
            with pytest.raises(ModelError):
                await asking

    with served("--grace-s", "0") as server:
        asyncio.run(go(server))
        rows = server.rest()
        assert server.process.wait(30) == 0
    assert [row["event"] for row in rows if "question" in row] in (["asked", "refused"], ["asked", "interrupted"])


def test_told_twice_it_ends_at_once() -> None:
    async def go(server: Served) -> None:
        async with in_progress(server) as (_, asking, _):
            server.process.send_signal(signal.SIGTERM)
            while (await asyncio.to_thread(server.row))["event"] != "ending":
                pass
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ModelError):
                await asking

    with served("--grace-s", "30") as server:
        asyncio.run(go(server))
        assert server.process.wait(30) == -signal.SIGTERM
        assert "answered" not in [row["event"] for row in server.rest()]
