"""A server that is asked: real HTTP, a real session in the same process, a model that has learned nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from aiohttp import ClientResponse, ClientSession

from edge_gate.wishes import Attention, Wishes
from tests.vidtok.test_answerer import GRID, answerer, drawn
from tests.vidtok.test_mind import at_work, run
from transport.adapters.webrtc import WebRtcListener
from vidtok.canvas import Canvas, blank
from vidtok.codec import diff
from vidtok.errors import ModelError
from vidtok.live.ask import ask_server
from vidtok.live.asking import MOST_TEXT, add_questions
from vidtok.live.attending import MOST_CONDITIONS, MOST_PLACES, Attending, Notice, Place
from vidtok.live.mind import MOST_QUESTIONS, Mind
from vidtok.live.receiver import Update
from vidtok.live.talk import json_row
from vidtok.model.answerer import Answer, Answerer
from vidtok.model.brain import Brain, Size
from vidtok.model.words import EOS, Words

TOKEN = "for-this-test"
INSIDE = {"Authorization": f"Bearer {TOKEN}"}


class Desk:
    """One attended stream behind HTTP, and what it has told and wished."""

    def __init__(self, mind: Mind, conditions: tuple[str, ...] = (), log_questions: bool = False) -> None:
        self.wished: list[Wishes] = []
        self.rows: list[Mapping[str, object]] = []
        self.canvas = blank(GRID)
        self.now = 0.0
        about = {"source": "a film", "fps": 10}
        self.attending = Attending(
            mind, "stream 1", self.canvas, about, Wishes(), lambda: self.now, self.wished.append,
            self.rows.append, conditions, log_questions,
        )  # fmt: skip

    def shows(self, canvas: Canvas, now: float) -> None:
        """A patch has come."""
        self.now = now
        everything = np.where(canvas.depth > 0, canvas.depth, 0).astype(np.uint8)
        edits = diff(canvas.values, self.canvas, everything)
        self.attending.show(Update(canvas, edits, self.canvas, round(now * 1000)), 0.0)
        self.canvas = canvas


class Desks:
    """Attended streams by their names, as a server has them."""

    def __init__(self, desks: dict[str, Desk]) -> None:
        self.desks = desks

    def streams(self) -> dict[str, Mapping[str, object]]:
        return {name: desk.attending.about for name, desk in self.desks.items()}

    def ask(self, stream: str, text: str) -> AsyncGenerator[str | Answer, None]:
        return self.desks[stream].attending.ask(text)

    def looked(self, stream: str, answer: Answer) -> list[Place]:
        return self.desks[stream].attending.looked(answer)

    def notices(self, stream: str, condition: str) -> AsyncGenerator[Notice, None]:
        return self.desks[stream].attending.notices(condition)


@asynccontextmanager
async def served(desks: dict[str, Desk]) -> AsyncIterator[str]:
    """The address of a listener whose questions go to these streams."""

    async def nobody(_: object) -> None:
        raise AssertionError("no stream comes this way")

    listener = WebRtcListener("127.0.0.1", 0, token=TOKEN, on_endpoint=nobody)
    add_questions(listener, Desks(desks))
    await listener.start()
    try:
        yield f"http://127.0.0.1:{listener.port}"
    finally:
        await listener.close()


def desk_test(what: Callable[[Desk, str], Awaitable[None]]) -> None:
    """Run it with one stream that shows something."""

    async def go() -> None:
        async with at_work(Mind(answerer())) as mind:
            desk = Desk(mind)
            desk.shows(drawn(np.random.default_rng(0), desk.canvas, 1.0, gist=5), 0.1)
            async with served({"stream 1": desk}) as url:
                await what(desk, url)

    run(go)


def test_an_answer_comes_word_by_word_over_http_and_is_the_model_s() -> None:
    async def ask(desk: Desk, url: str) -> None:
        words = [word async for word in ask_server(url, "What is it?", token=TOKEN)]
        model = answerer()
        watch = model.watch(desk.canvas, 10.0)
        model.show(watch, desk.canvas, 0.1)
        *_, answer = model.ask(watch, "What is it?")
        assert isinstance(answer, Answer)
        assert "".join(words) == answer.text

    desk_test(ask)


def test_while_it_is_asked_the_edge_hears_of_it_and_afterwards_where_the_answer_looked() -> None:
    async def ask(desk: Desk, url: str) -> None:
        desk.now = 5.0
        async for _ in ask_server(url, "What is it?", token=TOKEN):
            desk.now += 1.0
        assert [wishes.interest for wishes in desk.wished][-1] == 2.0
        assert desk.wished[-1].attention is not None
        desk.shows(drawn(np.random.default_rng(1), desk.canvas, 0.2), desk.now + 100)
        assert desk.wished[-1] == Wishes(interest=0.5)

    desk_test(ask)


def test_who_goes_away_before_the_first_word_ends_the_question() -> None:
    async def go() -> None:
        desk = Desk(Mind(answerer()))  # which thinks of nothing

        async def happens(answering: int) -> None:
            while desk.attending.answering != answering:
                await asyncio.sleep(0.01)

        async with served({"stream 1": desk}) as url, ClientSession(headers=INSIDE) as client:
            asking = asyncio.create_task(client.post(url + "/ask", json={"text": "What is it?"}))
            await happens(1)
            asking.cancel()
            await happens(0)

    run(go)


def test_streams_are_listed_for_those_who_have_the_token() -> None:
    async def ask(_: Desk, url: str) -> None:
        async with ClientSession() as session:
            for token, status in ((TOKEN, 200), ("another", 401)):
                async with session.get(url + "/streams", headers={"Authorization": f"Bearer {token}"}) as response:
                    assert response.status == status
                    if status == 200:
                        told = await response.json()
                        assert told == {"streams": [{"name": "stream 1", "source": "a film", "fps": 10}]}

    desk_test(ask)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("[]", 400),
        ('{"text": 3}', 400),
        ('{"text": "  "}', 400),
        (json.dumps({"text": "a" * (MOST_TEXT + 1)}), 400),
        ('{"text": "what?", "stream": "none"}', 404),
        ('{"text": "what?", "stream": ["stream 1"]}', 404),
        ('{"text": "' + "a" * 100_000 + '"}', 413),
    ],
)
def test_what_is_no_question_is_refused(body: str, status: int) -> None:
    async def ask(_: Desk, url: str) -> None:
        async with (
            ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
            session.post(url + "/ask", data=body) as response,
        ):
            assert response.status == status

    desk_test(ask)


def test_who_asks_wrongly_gets_one_line() -> None:
    async def ask(_: Desk, url: str) -> None:
        for address, token, what in ((url, "another", "401"), ("http://127.0.0.1:9", None, "vidtok serve")):
            with pytest.raises(ModelError, match=what) as caught:
                async for _ in ask_server(address, "what?", token=token):
                    pass
            assert "\n" not in str(caught.value)

    desk_test(ask)


def says(answer: str) -> Answerer:
    """A model that always answers that, whatever it is asked: its last layer knows only how many words it has said."""
    words = Words(["what", "is", "it", "red", "ball", "yes", "a"])
    model = Answerer(Brain(Size(len(words), dim=64, layers=1, hidden=64, cell_hidden=32)), words)
    script = [*words.encode(answer), EOS]
    think = model.think

    def scripted(told: Any, askings: Any = ()) -> list[str | Answer]:
        model.brain.says = lambda _: 20.0 * F.one_hot(torch.tensor(script[len(askings[0].words)]), len(words)).float()  # type: ignore[method-assign]
        return think(told, askings)

    model.think = scripted  # type: ignore[method-assign]
    return model


def test_a_condition_is_asked_about_when_there_is_news_and_told_of_once() -> None:
    async def go() -> None:
        async with at_work(Mind(says("yes"))) as mind:
            desk = Desk(mind, ("is it a ball?",))
            rng = np.random.default_rng(0)
            for k in range(4):
                desk.shows(drawn(rng, desk.canvas, 0.5), 2.0 * k)
                await asyncio.sleep(0.2)
            assert [row["condition"] for row in desk.rows if row["event"] == "noticed"] == ["is it a ball?"]
            assert all(wishes.interest == 1 for wishes in desk.wished)

    run(go)


def test_a_condition_that_does_not_hold_is_not_told() -> None:
    async def go() -> None:
        async with at_work(Mind(says("red ball"))) as mind:
            desk = Desk(mind, ("is it a ball?",))
            desk.shows(drawn(np.random.default_rng(0), desk.canvas, 0.5), 2.0)
            await asyncio.sleep(0.3)
            assert {row["event"] for row in desk.rows} <= {"wished"}

    run(go)


def test_a_client_s_own_condition_is_told_of_for_as_long_as_it_listens() -> None:
    async def go() -> None:
        async with at_work(Mind(says("yes"))) as mind:
            desk, rng = Desk(mind), np.random.default_rng(0)
            desk.shows(drawn(rng, desk.canvas, 0.5), 1.0)
            async with served({"stream 1": desk}) as url, ClientSession(headers=INSIDE) as client:
                async with client.post(url + "/tell-me", json={"text": "is it a ball?"}) as told:
                    assert told.headers["Content-Type"] == "text/event-stream"
                    event = await told_next(told)
                    assert event["condition"] == "is it a ball?"
                    assert event["capture_ms"] == 1000
                    desk.shows(drawn(rng, desk.canvas, 0.5), 3.0)  # it still holds: nothing new to tell
                    await asyncio.sleep(0.2)
                    desk.shows(drawn(rng, desk.canvas, 0.5), 100.0)
                    assert desk.wished[-1].interest == 1, "somebody wants to know"
                assert [row["event"] for row in desk.rows].count("noticed") == 1
                while desk.wished[-1].interest == 1:  # until the server hears that nobody listens
                    await asyncio.sleep(0.05)
                    desk.shows(drawn(rng, desk.canvas, 0.5), desk.now + 100)
                desk.attending.close()

    run(go)


def test_conditions_have_a_limit_and_end_with_their_stream() -> None:
    async def go() -> None:
        async with at_work(Mind(says("red ball"))) as mind:
            desk = Desk(mind, tuple(f"is it {k}?" for k in range(MOST_CONDITIONS - 1)))
            listening = asyncio.ensure_future(anext(desk.attending.notices("is it a ball?"), None))
            await asyncio.sleep(0)
            with pytest.raises(ModelError, match="end one first"):
                await anext(desk.attending.notices("is it another?"))
            desk.attending.close()
            assert await listening is None

    run(go)


async def told_next(told: ClientResponse) -> dict[str, Any]:
    """The next event that is no comment."""
    while not (line := await told.content.readline()).startswith(b"data: "):
        assert line, "the server has no more to tell"
    event: dict[str, Any] = json.loads(line[6:])
    return event


def test_an_answer_says_where_in_the_frame_it_looked() -> None:
    async def ask(desk: Desk, url: str) -> None:
        asked = {"text": "What is it?"}
        async with ClientSession(headers=INSIDE) as client, client.post(url + "/ask", json=asked) as told:
            while "answer" not in (event := await told_next(told)):
                pass
        looked = event["looked"]
        assert 0 < len(looked) <= MOST_PLACES
        assert [weight for *_, weight in looked] == sorted((weight for *_, weight in looked), reverse=True)
        assert looked[0][3] == 1
        for left, top, side, _ in looked:
            assert -side < left < GRID.width
            assert -side < top < GRID.height

    desk_test(ask)


def test_every_question_is_a_row_when_it_is_asked_and_one_when_it_ends() -> None:
    async def go() -> None:
        async with at_work(Mind(says("red ball"))) as mind:
            desk = Desk(mind)
            desk.now = 1.0
            async for word in desk.attending.ask("What is it?"):
                desk.now += 0.25 if word else 0
            words = desk.attending.ask("What is it?")
            await anext(words)
            await words.aclose()
        held = [asyncio.ensure_future(anext(desk.attending.ask("What is it?"))) for _ in range(MOST_QUESTIONS)]
        await asyncio.sleep(0)  # nobody thinks any more, so that they wait
        with pytest.raises(ModelError):
            await anext(desk.attending.ask("What is it?"))
        for each in held:
            each.cancel()
        await asyncio.wait(held)
        rows = [row for row in desk.rows if "question" in row]
        assert {row["stream"] for row in rows} == {"stream 1"}
        assert [row["event"] for row in rows[:4]] == ["asked", "answered", "asked", "interrupted"]
        assert rows[1] == {
            "event": "answered", "seconds": 0.75, "words": 2, "first_word_s": 0.0, "stream": "stream 1", "question": 1,
        }  # fmt: skip
        ends = Counter(row["event"] for row in rows)
        assert ends == {"asked": 7, "answered": 1, "interrupted": 5, "refused": 1}
        (refused,) = (row for row in rows if row["event"] == "refused")
        assert "4 questions" in str(refused["reason"])
        assert "What" not in str(desk.rows)
        assert any(row["event"] == "wished" and row["stream"] == "stream 1" for row in desk.rows)

    run(go)


def test_what_was_asked_is_logged_only_when_that_is_asked_for() -> None:
    async def go() -> None:
        async with at_work(Mind(answerer())) as mind:
            desk = Desk(mind, log_questions=True)
            async for _ in desk.attending.ask("What is it?"):
                pass
            assert [row.get("text") for row in desk.rows if row["event"] == "asked"] == ["What is it?"]

    run(go)


def test_a_row_for_programs_is_a_json_object_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    wished = Wishes(attention=Attention((0, 0), 2, b"\x01\x02"), detail=((0, 0, 32, 32),)).to_map()
    json_row({"event": "wished", "stream": "stream 1", "wishes": wished})
    row = json.loads(capsys.readouterr().out)
    assert datetime.fromisoformat(row["time"]).utcoffset() == timedelta(0)
    assert row["wishes"]["attention"]["weights"] == "AQI="
    assert row["stream"] == "stream 1"
