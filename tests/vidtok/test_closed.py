"""Models behind an endpoint: which moments are chosen, what is asked, and what comes back over a local server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from vidtok.canvas import Canvas, Grid, blank
from vidtok.errors import ModelError
from vidtok.live.pictures import jpeg
from vidtok.model.closed import AskConfig, ClosedModel, Endpoint, caption, endpoint_of
from vidtok.model.keyframes import KeyframeChooser, KeyframeConfig, unlike
from vidtok.model.sse import EventStream, answer_part, error_text, whole_answer
from vidtok.tokenizer.fsq import EDGES

KEY = "sk-very-secret"


def canvas(share: float = 1.0, seed: int = 0, depth: int = 1, position: tuple[int, int] = (0, 0)) -> Canvas:
    """128x128, of which this share of the rows is as no other seed has it; the rest is the same for all."""
    base = blank(Grid(128, 128))
    values = np.full(base.values.shape, 3, np.uint8)
    rows = round(share * 4)
    values[:rows, :, : EDGES[1]] = np.uint8(seed % 2 * 7)
    held = np.full(base.depth.shape, depth, np.uint8)
    return replace(base, version=1, values=values, depth=held, position=position)


# Which moments


@given(
    per_minute=st.floats(1, 120),
    burst=st.integers(1, 5),
    steps=st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=80
    ),
)
def test_the_budget_is_never_exceeded(
    per_minute: float, burst: int, steps: list[tuple[float, int, bool, bool]]
) -> None:
    chooser = KeyframeChooser(KeyframeConfig(per_minute, burst, reserve=min(1, burst - 1), keep=1000))
    now, times, seen = 0.0, [], 0
    for number, (later, rows, alarm, asked) in enumerate(steps):
        now += later
        chooser.see(canvas(rows / 4, number), now, alarm)
        if asked:
            chooser.for_question(now, 4)
        times += [now] * (len(chooser.chosen) - seen)  # when it was chosen, whatever moment it shows
        seen = len(chooser.chosen)
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = burst + (times[last] - times[first]) * per_minute / 60
            assert last - first + 1 <= allowed + 1e-6
    assert len({keyframe.number for keyframe in chooser.chosen}) == len(chooser.chosen)


def test_the_first_sight_is_chosen_and_what_stays_alike_is_not() -> None:
    chooser = KeyframeChooser()
    chooser.see(blank(Grid(128, 128)), 0.0)  # nothing known
    assert chooser.chosen == ()
    for second in range(30):
        chooser.see(canvas(0.0), second)
    assert [keyframe.time_s for keyframe in chooser.chosen] == [0.0]


def test_the_newest_takes_the_place_of_what_waits_and_there_is_no_queue() -> None:
    chooser = KeyframeChooser(KeyframeConfig(per_minute=6, burst=2, reserve=1))
    chooser.see(canvas(0.0), 0.0)
    for second in range(1, 10):  # all new each time; the next place is free at 10 s
        chooser.see(canvas(1.0, second), second)
    assert len(chooser.chosen) == 1
    chooser.tick(10.0)
    assert [keyframe.time_s for keyframe in chooser.chosen] == [0.0, 9.0]
    chooser.tick(100.0)
    assert len(chooser.chosen) == 2


def test_an_event_waits_for_its_picture_even_when_it_is_over() -> None:
    chooser = KeyframeChooser(KeyframeConfig(per_minute=6, burst=2, reserve=1))
    chooser.see(canvas(0.0), 0.0)
    chooser.see(canvas(0.25, 1), 0.2, alarm=True)  # too soon after the last
    chooser.see(canvas(0.25, 1), 0.4, alarm=True)  # it goes on: no new event
    chooser.see(canvas(0.0), 0.6)
    chooser.tick(1.0)
    assert [(k.time_s, k.alarm) for k in chooser.chosen] == [(0.0, False), (0.2, True)]


def test_what_has_gone_again_is_not_waited_for() -> None:
    chooser = KeyframeChooser(KeyframeConfig(per_minute=6, burst=2, reserve=1))
    chooser.see(canvas(0.0), 0.0)
    chooser.see(canvas(1.0, 1), 1.0)
    chooser.see(canvas(0.0), 2.0)
    chooser.tick(60.0)
    assert [keyframe.time_s for keyframe in chooser.chosen] == [0.0]


def test_alarms_and_questions_may_spend_the_reserve() -> None:
    chooser = KeyframeChooser(KeyframeConfig(per_minute=1, burst=3, reserve=2))
    chooser.see(canvas(0.0), 0.0)
    chooser.see(canvas(1.0, 1), 1.0)
    assert len(chooser.chosen) == 1
    chooser.see(canvas(1.0, 1), 2.0, alarm=True)
    assert [(k.time_s, k.alarm) for k in chooser.chosen] == [(0.0, False), (2.0, True)]
    chooser.see(canvas(1.0, 2), 3.0)
    shown = chooser.for_question(3.0, 4)
    assert [keyframe.time_s for keyframe in shown] == [0.0, 2.0, 3.0]
    chooser.see(canvas(1.0, 3), 4.0, alarm=True)
    assert len(chooser.for_question(4.0, 4)) == 3  # nothing is left, not even for a question


def test_a_scene_that_stays_is_shown_as_it_is_known_by_now() -> None:
    chooser = KeyframeChooser()
    chooser.see(canvas(0.0, depth=1), 0.0)
    chooser.see(canvas(0.0, depth=5), 2.0)
    (only,) = chooser.for_question(3.0, 4)
    assert (only.time_s, int(only.canvas.depth[0, 0])) == (0.0, 5)
    chooser.see(canvas(0.0, depth=6), 4.0)  # it was shown: it stays
    assert int(chooser.for_question(5.0, 4)[0].canvas.depth[0, 0]) == 5


def test_memory_holds_the_last_few() -> None:
    chooser = KeyframeChooser(KeyframeConfig(per_minute=600, burst=20, keep=3))
    for number in range(10):
        chooser.see(canvas(1.0, number), number)
    assert [keyframe.time_s for keyframe in chooser.chosen] == [7.0, 8.0, 9.0]
    assert [keyframe.time_s for keyframe in chooser.for_question(9.0, 2)] == [8.0, 9.0]


def test_unlike_counts_what_is_shown() -> None:
    still = canvas(0.0)
    assert unlike(still, canvas(0.0, depth=6)) == 0.0
    assert unlike(still, canvas(0.5, 1)) == pytest.approx(0.5)
    panned = still.panned(64, 0)
    assert unlike(still, panned) == 0.0
    filled = replace(panned, depth=np.ones_like(panned.depth))
    assert unlike(still, filled) == pytest.approx(0.25)  # a column has come in
    assert unlike(still, blank(Grid(64, 64))) == 1.0
    gist = replace(still, gist=np.full_like(still.gist, 7), gist_depth=1)
    assert unlike(replace(still, gist_depth=1), gist) == 1.0
    assert unlike(still, gist) == 0.0  # nothing was known to compare with


@pytest.mark.parametrize("wrong", [{"per_minute": 0}, {"reserve": 3}, {"keep": 0}])
def test_a_budget_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KeyframeConfig(**wrong)


# Events

STREAM = (
    "\ufeff: hello\r\nevent: x\ndata: one\n\ndata:two\rdata: and more\r\r"
    'id: 7\n\ndata: {"choices": [{"delta": {"content": "ä"}}]}\r\n\r\ndata: [DONE]\n\n'
).encode()


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    events = EventStream()
    found = [data for a, b in pairwise(places) for data in events.feed(STREAM[a:b])]
    assert found == EventStream().feed(STREAM)
    assert found[:2] == ["one", "two\nand more"]
    assert answer_part(found[2]) == "ä"


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_a_model_error(data: bytes) -> None:
    with suppress(ModelError):
        for event in EventStream(100, 250).feed(data + b"\n\n"):
            assert isinstance(answer_part(event), str)
    with suppress(ModelError):
        assert isinstance(whole_answer(data), str)
    assert len(error_text(data)) <= 200


def test_lines_events_and_streams_are_bounded() -> None:
    for pieces in ([b"data: " + b"x" * 200], [b"data: " + b"x" * 60 + b"\n"] * 3, [b": " + b"x" * 60 + b"\n"] * 10):
        events = EventStream(100, 500)
        with pytest.raises(ModelError, match="longer than"):
            list(map(events.feed, pieces))


@pytest.mark.parametrize("data", ["[1]", "{}", '{"choices": [3]}', '{"choices": [{"delta": 1}]}', "<html>", "[" * 9000])
def test_what_is_no_answer_is_said(data: str) -> None:
    with pytest.raises(ModelError, match="not an answer"):
        answer_part(data)


def test_events_without_words_add_none() -> None:
    for data in ('{"choices": []}', '{"choices": [{"delta": {"role": "assistant", "content": null}}]}'):
        assert answer_part(data) == ""


# Endpoints


def test_an_endpoint_is_read_from_its_address() -> None:
    found = endpoint_of("openai:https://example.org/v1/?model=a%2Fb&api-version=3", {"OPENAI_API_KEY": KEY})
    assert found == Endpoint("https://example.org/v1/chat/completions?api-version=3", "a/b", KEY)
    assert found.shown == "https://example.org/v1/chat/completions"
    assert KEY not in repr(found)
    assert endpoint_of("openai:http://127.0.0.1:9000/v1?model=x", {"OPENAI_API_KEY": KEY}).key == KEY
    assert endpoint_of("openai:http://somewhere/v1?model=x", {}).key is None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("openai:ftp://x/v1?model=a", "not an http or https address"),
        ("openai:http:///v1?model=a", "not an http or https address"),
        ("openai:http://x:port/v1?model=a", "not an address"),
        ("openai:http://127.0.0.1/v1", r"http://127.0.0.1/v1/chat/completions: names no model; give openai:http"),
        ("openai:http://me:word@127.0.0.1/v1?model=a", "set OPENAI_API_KEY in the environment"),
        ("openai:http://example.org/v1?model=a", "in the clear; use https"),
    ],
)
def test_addresses_that_cannot_be_used_are_said(spec: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as found:
        endpoint_of(spec, {"OPENAI_API_KEY": KEY})
    assert KEY not in str(found.value)
    assert "word" not in str(found.value)


# Over a local server


@dataclass
class Served:
    """What a test's endpoint was asked, and whether its client is still there."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[Served]:
    """A local endpoint."""
    out = Served()

    async def outer(request: web.Request) -> web.StreamResponse:
        out.keys.append(request.headers.get("Authorization"))
        out.asked.append(await request.json())
        try:
            return await handler(request)
        finally:
            out.left.set()

    app = web.Application(client_max_size=1 << 22)
    app.router.add_post("/v1/chat/completions", outer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    out.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/chat/completions"
    try:
        yield out
    finally:
        await runner.cleanup()


def event(text: str) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n".encode()


def streams(*parts: bytes, then: Callable[[web.Request], Awaitable[None]] | None = None) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        if then is not None:
            await then(request)
        return response

    return handler


async def forever(_: web.Request) -> None:
    await asyncio.Event().wait()


async def cut(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


def draw(shown: Canvas) -> bytes:
    """A stand-in for the viewer."""
    return jpeg(np.full((32, 32, 3), int(shown.values[0, 0, 0]) * 30, np.uint8))


def asks(at: Served, key: str | None = KEY, **config: float) -> ClosedModel:
    return ClosedModel(Endpoint(at.url, "tiny", key), draw, config=AskConfig(**config))  # type: ignore[arg-type]


async def answer(one: ClosedModel, now: float = 20.0) -> list[str]:
    return [part async for part in one.ask("what is there?", now)]


def fails(handler: Handler, said: str, **config: float) -> ModelError:
    """Ask an endpoint that fails; the error, which names the address and never the key."""

    async def whole() -> ModelError:
        async with served(handler) as at:
            with pytest.raises(ModelError, match=said) as found:
                await answer(asks(at, **config))
            assert str(found.value).startswith(f"{at.url}: ")
            assert KEY not in str(found.value)
            assert "\n" not in str(found.value)
            return found.value

    return asyncio.run(whole())


def test_pictures_times_and_question_are_asked_and_the_answer_is_streamed() -> None:
    async def whole() -> None:
        async with served(streams(b": hi\n\n", event("A "), event("cat."), b"data: [DONE]\n\n")) as at:
            one = asks(at)
            one.see(canvas(0.0), 1.0)
            one.see(canvas(1.0, 1), 12.5, alarm=True)
            assert await answer(one) == ["A ", "cat."]
            assert await answer(one) == ["A ", "cat."]
        body = at.asked[0]
        assert (body["model"], body["stream"], at.keys[0]) == ("tiny", True, f"Bearer {KEY}")
        content = body["messages"][-1]["content"]
        assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url", "text"]
        assert content[0]["text"] == "1.0 s, 19.0 s ago:"
        assert content[2]["text"] == "12.5 s, 7.5 s ago, an event:"
        assert content[-1]["text"] == "what is there?"
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        assert all(url.startswith("data:image/jpeg;base64,/9j/") for url in urls)
        assert urls[0] != urls[1]

    asyncio.run(whole())


def test_pictures_are_drawn_once_and_only_for_questions() -> None:
    drawn: list[int] = []

    async def whole() -> None:
        async with served(streams(event("yes"), b"data: [DONE]\n\n")) as at:

            def counting(shown: Canvas) -> bytes:
                drawn.append(shown.version)
                return draw(shown)

            one = ClosedModel(Endpoint(at.url, "tiny"), counting, KeyframeConfig(600, 20, keep=2))
            for number in range(6):
                one.see(canvas(1.0, number), number)
            assert drawn == []
            for _ in range(3):
                await answer(one)
            assert len(drawn) == 2
            assert at.keys == [None] * 3

    asyncio.run(whole())


def test_an_answer_in_one_piece_is_taken_too() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": "a dog"}}]})

    async def whole() -> None:
        async with served(handler) as at:
            assert await answer(asks(at)) == ["a dog"]
            assert at.asked[0]["messages"][-1]["content"][0]["text"] == "The camera has shown nothing yet."

    asyncio.run(whole())


def refuses(status: int, text: str = "", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


async def hangs_up(request: web.Request) -> web.StreamResponse:
    await cut(request)
    await forever(request)
    raise AssertionError


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (hangs_up, "hung up without an answer"),
        (refuses(401, json.dumps({"error": {"message": f"bad key {KEY}\nsorry"}})), r"401: .*OPENAI_API_KEY.*sorry"),
        (refuses(404), "no model 'tiny': check the address"),
        (refuses(302, Location="http://127.0.0.1:1/elsewhere"), "302, it points elsewhere"),
        (refuses(400, "not json"), "400, it refuses the question; does model 'tiny' take pictures"),
        (refuses(503, "[" * 5000), "503, the endpoint itself failed"),
        (refuses(200, "<html>"), "answers text/plain, not a stream of events"),
        (streams(b"data: {nonsense\n\n"), "not an answer"),
        (streams(event("a"), b'data: {"error": {"message": "too hot"}}\n\n'), "the model gave up: too hot"),
        (streams(event("a")), "cut in the middle"),
        (streams(event("a"), then=cut), "cut in the middle"),
        (streams(b"data: " + b"x" * (70 << 10)), "longer than 65536 bytes"),
    ],
)
def test_whatever_goes_wrong_is_one_line(handler: Handler, said: str) -> None:
    assert fails(handler, said).retry_after_s is None


def test_how_long_to_wait_is_said() -> None:
    assert fails(refuses(429, Retry_After="7"), "429, too many questions: ask again in 7 s").retry_after_s == 7.0
    dates = {"Date": "Sun, 22 Nov 2026 10:00:00 GMT", "Retry_After": "Sun, 22 Nov 2026 10:01:30 GMT"}
    assert fails(refuses(429, **dates), "ask again in 90 s").retry_after_s == 90.0
    for nonsense in ("soon", "-3", "nan", "1e99"):
        assert fails(refuses(429, Retry_After=nonsense), "ask again later").retry_after_s is None


def test_a_stall_is_given_up() -> None:
    fails(streams(event("a"), then=forever), "no answer in time", stall_s=0.05)
    fails(streams(event("a"), then=forever), "no answer in time", total_s=0.2)


def test_an_endpoint_that_is_not_there_is_said() -> None:
    async def whole() -> None:
        async with served(streams()) as at:
            pass
        with pytest.raises(ModelError, match="cannot be reached; start the endpoint"):
            await answer(asks(at))

    asyncio.run(whole())


@pytest.mark.parametrize("way", ["close", "cancel"])
def test_an_answer_nobody_wants_any_more_is_hung_up_at_once(way: str) -> None:
    async def whole() -> None:
        async with served(streams(event("a"), event("b"), then=forever)) as at:
            one = asks(at)
            one.see(canvas(0.0), 0.0)
            parts: AsyncGenerator[str, None] = one.ask("what?", 1.0)
            assert await anext(parts) == "a"
            if way == "close":
                await parts.aclose()
            else:
                waiting = asyncio.ensure_future(_drain(parts))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await asyncio.wait_for(at.left.wait(), 20)

    asyncio.run(whole())


async def _drain(parts: AsyncGenerator[str, None]) -> None:
    async for _ in parts:
        pass


def test_a_caption_never_tells_of_the_future() -> None:
    chooser = KeyframeChooser()
    chooser.see(canvas(0.0), 5.0)
    assert caption(chooser.chosen[0], 4.0) == "5.0 s, 0.0 s ago:"
