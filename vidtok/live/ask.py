"""Ask a server: the other end of `vidtok.live.asking`. Needs neither torch nor the model.

question --POST /ask--> server-sent events --> words, as they come
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from vidtok.errors import MissingExtra, ModelError

try:
    from aiohttp import ClientError, ClientSession, ClientTimeout
except ImportError:
    raise MissingExtra("aiohttp", "edge") from None

MOST_LINE = 64 * 1024
SILENCE_S = 60.0


async def ask_server(url: str, text: str, *, stream: str | None = None, token: str | None = None) -> AsyncIterator[str]:
    """Ask a server; yields the answer's words. Raises ModelError in one line that names the server."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    asked: dict[str, Any] = {"text": text} | ({"stream": stream} if stream else {})
    timeout = ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_S)
    try:
        async with (
            ClientSession(timeout=timeout, read_bufsize=MOST_LINE) as session,
            session.post(url.rstrip("/") + "/ask", json=asked, headers=headers) as response,
        ):
            if response.status != 200:
                raise ModelError(f"{url}: {(await response.text())[:200]} (HTTP {response.status})")
            async for line in response.content:
                if (word := _word(line, url)) is not None:
                    yield word
    except (ClientError, TimeoutError, ValueError) as error:
        raise ModelError(f"{url}: cannot be asked ({error or 'no answer'}); is `vidtok serve` running there?") from None


def _word(line: bytes, url: str) -> str | None:
    """The word that a line of the answer holds, if it holds one."""
    if not line.startswith(b"data: "):
        return None
    try:
        told = json.loads(line[6:])
    except ValueError:
        raise ModelError(f"{url}: what came is no answer; is it a `vidtok serve`?") from None
    if "error" in told:
        raise ModelError(f"{url}: {told['error']}")
    word = told.get("word")
    return word if isinstance(word, str) else None
