"""Questions over HTTP, for whoever a listener would let open a session: the same token, the same host names.

    GET  /streams                                      {"streams": [{"name": "stream 1", "source": "scene"}]}
    POST /ask     {"text": "...", "stream": "..."}     server-sent events: {"word": " red"} ... {"answer": "red", ...}
    POST /tell-me {"text": "...", "stream": "..."}     server-sent events: {"condition": "...", ...} when it comes true
         Authorization: Bearer TOKEN                   without "stream", the one that began last
    400 not such a map   401 token   403 host   404 no such stream   429 too many questions

An answer ends with where it looked: `looked` is a list of [left, top, side, weight] in pixels of the frame, weights of
at most 1. A client that goes away interrupts its answer, and takes its condition with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from transport.adapters.http_listener import HttpListener
from vidtok.errors import ModelError
from vidtok.live.attending import Notice, Place
from vidtok.model.answerer import Answer

from aiohttp import web  # isort: skip - after our own, which says what is missing

MOST_TEXT = 400
BEAT_S = 15.0  # of silence, until a client that waits for notices is told that we are still here
LOOK_S = 0.5  # between two looks at whether it still waits

_Told = TypeVar("_Told")


class Asked(Protocol):
    """Streams that can be asked about."""

    def streams(self) -> Mapping[str, Mapping[str, object]]:
        """What there is, in order of its beginning."""

    def ask(self, stream: str, text: str) -> AsyncGenerator[str | Answer, None]:
        """Words of the answer, then the whole."""

    def looked(self, stream: str, answer: Answer) -> Sequence[Place]:
        """Where an answer came from."""

    def notices(self, stream: str, condition: str) -> AsyncGenerator[Notice, None]:
        """Each time that the answer to a condition becomes yes."""


def add_questions(listener: HttpListener, asked: Asked) -> None:
    """Answer questions about streams; before `start`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        name, text = _question(await listener.body(request), list(asked.streams()))
        async with aclosing(asked.ask(name, text)) as words, aclosing(_while_heard(request, words)) as heard:
            return await _tell(request, name, _answering(name, heard, asked))

    async def tell_me(request: web.Request) -> web.StreamResponse:
        name, text = _question(await listener.body(request), list(asked.streams()))
        async with aclosing(asked.notices(name, text)) as notices, aclosing(_while_heard(request, notices)) as heard:
            return await _tell(request, name, _noticing(heard))

    async def listed(request: web.Request) -> web.Response:
        return web.json_response({"streams": [{"name": name, **about} for name, about in asked.streams().items()]})

    listener.app.router.add_post("/ask", listener.guarded(answer))
    listener.app.router.add_post("/tell-me", listener.guarded(tell_me))
    listener.app.router.add_get("/streams", listener.guarded(listed))


def _question(body: str, streams: list[str]) -> tuple[str, str]:
    """The stream and the text of a request's body."""
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("text"), str) or not asked["text"].strip():
        raise web.HTTPBadRequest(text='ask with {"text": "a question"}, and perhaps "stream"')
    if len(asked["text"]) > MOST_TEXT:
        raise web.HTTPBadRequest(text=f"a question has at most {MOST_TEXT} letters")
    name = asked.get("stream", streams[-1] if streams else None)
    if name not in streams:
        raise web.HTTPNotFound(text=f"there is no stream {name!r}; there are {', '.join(streams) or 'none now'}")
    return name, asked["text"]


async def _answering(
    name: str, words: AsyncIterator[str | Answer | None], asked: Asked
) -> AsyncGenerator[dict[str, object], None]:
    async for word in words:
        if isinstance(word, Answer):
            yield {"answer": word.text, "sure": round(word.sure, 3), "looked": asked.looked(name, word)}
        elif word is not None:
            yield {"word": word}


async def _noticing(notices: AsyncIterator[Notice | None]) -> AsyncGenerator[dict[str, object] | None, None]:
    """What is noticed; None at once and whenever nothing was for a while."""
    yield None
    silent_s = 0.0
    async for notice in notices:
        silent_s = silent_s + LOOK_S if notice is None else 0.0
        if notice is not None:
            yield {"condition": notice.condition, "capture_ms": notice.capture_ms, "sure": round(notice.sure, 3)}
        elif silent_s >= BEAT_S:
            silent_s = 0.0
            yield None


async def _while_heard(request: web.Request, told: AsyncGenerator[_Told, None]) -> AsyncGenerator[_Told | None, None]:
    """What is told, until nobody listens; None wherever LOOK_S have passed without."""
    coming = asyncio.ensure_future(anext(told, None))
    try:
        while request.transport is not None and not request.transport.is_closing():
            if not (await asyncio.wait((coming,), timeout=LOOK_S))[0]:
                yield None
                continue
            if (value := coming.result()) is None:
                return
            yield value
            coming = asyncio.ensure_future(anext(told, None))
    finally:
        coming.cancel()
        await asyncio.wait((coming,))


async def _tell(
    request: web.Request, name: str, told: AsyncGenerator[dict[str, object] | None, None]
) -> web.StreamResponse:
    """Event by event, None as a comment; a refusal has a status of its own only before the first."""
    response: web.StreamResponse | None = None
    try:
        async with aclosing(told):
            async for row in told:
                if response is None:
                    response = web.StreamResponse(
                        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
                    )
                    await response.prepare(request)
                event = ": still here" if row is None else f"data: {json.dumps({'stream': name, **row})}"
                await response.write(f"{event}\n\n".encode())
    except ModelError as error:
        if response is None:
            raise web.HTTPTooManyRequests(text=str(error)) from None
        await response.write(f"data: {json.dumps({'stream': name, 'error': str(error)})}\n\n".encode())
    return response or web.Response(status=204)
