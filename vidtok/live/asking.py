"""Questions over HTTP, for whoever a listener would let open a session: the same token, the same host names.

    GET  /streams                                  {"streams": [{"name": "stream 1", "source": "scene"}]}
    POST /ask {"text": "...", "stream": "..."}     server-sent events: {"word": " red"} ... {"answer": "red", ...}
         Authorization: Bearer TOKEN               without "stream", the one that began last
    400 not such a map   401 token   403 host   404 no such stream   429 too many questions

A client that goes away interrupts its answer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing

from transport.adapters.http_listener import HttpListener
from vidtok.errors import ModelError
from vidtok.model.answerer import Answer

from aiohttp import web  # isort: skip - after our own, which says what is missing

Ask = Callable[[str, str], AsyncGenerator[str | Answer, None]]
MOST_TEXT = 400


def add_questions(listener: HttpListener, streams: Callable[[], Mapping[str, Mapping[str, object]]], ask: Ask) -> None:
    """Answer questions about the streams that `streams()` names, in order of their beginning; before `start`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        refusal = listener.identity(request)
        if refusal is not None:
            return listener.refuse(request, refusal)
        name, text = _question(await listener.body(request), list(streams()))
        async with aclosing(ask(name, text)) as words:
            return await _tell(request, name, words)

    async def listed(request: web.Request) -> web.Response:
        refusal = listener.identity(request)
        if refusal is not None:
            return listener.refuse(request, refusal)
        return web.json_response({"streams": [{"name": name, **about} for name, about in streams().items()]})

    listener.app.router.add_post("/ask", answer)
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


async def _tell(request: web.Request, name: str, words: AsyncIterator[str | Answer]) -> web.StreamResponse:
    """Word by word; a refusal has a status of its own only before the first."""
    response: web.StreamResponse | None = None
    try:
        async for word in words:
            if response is None:
                response = web.StreamResponse(
                    headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
                )
                await response.prepare(request)
            told = {"answer": word.text, "sure": round(word.sure, 3)} if isinstance(word, Answer) else {"word": word}
            await response.write(f"data: {json.dumps({'stream': name, **told})}\n\n".encode())
    except ModelError as error:
        if response is None:
            raise web.HTTPTooManyRequests(text=str(error)) from None
        await response.write(f"data: {json.dumps({'stream': name, 'error': str(error)})}\n\n".encode())
    return response or web.Response(status=204)
