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
from typing import Protocol

from transport.adapters.http_listener import HttpListener
from vidtok.errors import ModelError
from vidtok.live.attending import Notice, Place
from vidtok.model.answerer import Answer

from aiohttp import web  # isort: skip - after our own, which says what is missing

MOST_TEXT = 400
BEAT_S = 15.0  # of silence, until a client that waits for notices is told that we are still here
LOOK_S = 0.5  # between two looks at whether it still waits


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
        refusal = listener.identity(request)
        if refusal is not None:
            return listener.refuse(request, refusal)
        name, text = _question(await listener.body(request), list(asked.streams()))
        async with aclosing(asked.ask(name, text)) as words:
            return await _tell(request, name, _answering(name, words, asked))

    async def tell_me(request: web.Request) -> web.StreamResponse:
        refusal = listener.identity(request)
        if refusal is not None:
            return listener.refuse(request, refusal)
        name, text = _question(await listener.body(request), list(asked.streams()))
        async with aclosing(asked.notices(name, text)) as notices:
            return await _tell(request, name, _noticing(request, notices))

    async def listed(request: web.Request) -> web.Response:
        refusal = listener.identity(request)
        if refusal is not None:
            return listener.refuse(request, refusal)
        return web.json_response({"streams": [{"name": name, **about} for name, about in asked.streams().items()]})

    listener.app.router.add_post("/ask", answer)
    listener.app.router.add_post("/tell-me", tell_me)
    listener.app.router.add_get("/streams", listed)


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
    name: str, words: AsyncIterator[str | Answer], asked: Asked
) -> AsyncGenerator[dict[str, object], None]:
    async for word in words:
        if isinstance(word, Answer):
            yield {"answer": word.text, "sure": round(word.sure, 3), "looked": asked.looked(name, word)}
        else:
            yield {"word": word}


async def _noticing(
    request: web.Request, notices: AsyncGenerator[Notice, None]
) -> AsyncGenerator[dict[str, object] | None, None]:
    """What is noticed, until nobody listens; None at once and whenever nothing was for a while."""
    yield None
    coming, silent_s = asyncio.ensure_future(anext(notices, None)), 0.0
    try:
        while request.transport is not None and not request.transport.is_closing():
            done, _ = await asyncio.wait((coming,), timeout=LOOK_S)
            silent_s += LOOK_S
            if not done:
                if silent_s >= BEAT_S:
                    silent_s = 0.0
                    yield None
                continue
            notice, silent_s = coming.result(), 0.0
            if notice is None:
                return
            yield {"condition": notice.condition, "capture_ms": notice.capture_ms, "sure": round(notice.sure, 3)}
            coming = asyncio.ensure_future(anext(notices, None))
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
