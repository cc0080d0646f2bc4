"""Models behind an OpenAI-style endpoint: `openai:URL`, with keyframes that novelty chooses.

    canvas, time, alarm --KeyframeChooser--> a few moments
                                                 |  drawn when somebody asks
    question ----------------------------------> chat/completions --SSE--> the answer, word by word

Such an endpoint takes pixels, so here, and on the server only, pictures are drawn from tokens. The key comes from the
environment and is never part of a message or a log; no redirect is followed with it.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import math
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from vidtok.canvas import Canvas
from vidtok.errors import MissingExtra, ModelError
from vidtok.model.keyframes import Keyframe, KeyframeChooser, KeyframeConfig
from vidtok.model.sse import DONE, MAX_STREAM, EventStream, answer_part, error_text, whole_answer

if TYPE_CHECKING:
    import aiohttp

PREFIX = "openai:"
KEY = "OPENAI_API_KEY"
MAX_ERROR = 64 << 10  # bytes of an error's text that are read
INSTRUCTIONS = (
    "You watch a camera. You are shown a few pictures of it, each with its time; they are coarse, because the stream "
    "is compressed for machines. Answer briefly, from what they show; say so where they do not show it."
)

Draw = Callable[[Canvas], bytes]  # a canvas as a JPEG


@dataclass(frozen=True)
class Endpoint:
    """Where the model is. The key does not show in its text."""

    url: str  # of chat/completions, with whatever else the caller's query says
    model: str
    key: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The address as messages say it: no query, no name, no password."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, _host(parts.netloc), parts.path, "", ""))


def endpoint_of(spec: str, environment: Mapping[str, str] = os.environ) -> Endpoint:
    """Read `openai:http://HOST:PORT/v1?model=NAME`; the key is the environment's OPENAI_API_KEY."""
    example = f"give {PREFIX}http://127.0.0.1:9000/v1?model=NAME"
    try:
        parts = urlsplit(spec.removeprefix(PREFIX))
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ModelError(f"{PREFIX}...: not an address; {example}") from None
    query = dict(parse_qsl(parts.query))
    model = query.pop("model", "")
    if parts.scheme not in ("http", "https") or not host:
        raise ModelError(f"{PREFIX}...: not an http or https address; {example}")
    if parts.username is not None or parts.password is not None:
        raise ModelError(f"{PREFIX}...: the key does not belong in the address; set {KEY} in the environment")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
    out = Endpoint(
        urlunsplit((parts.scheme, parts.netloc, path, urlencode(query), "")), model, environment.get(KEY) or None
    )
    if not model:
        raise ModelError(f"{out.shown}: names no model; {example}")
    if out.key and not out.key.isascii():
        raise ModelError(f"{KEY} holds letters that no key has; set it anew")
    if out.key and parts.scheme == "http" and not _here(host):
        raise ModelError(f"{out.shown}: {KEY} would go there in the clear; use https, or unset {KEY}")
    return out


@dataclass(frozen=True)
class AskConfig:
    """What a question may cost."""

    pictures: int = 4  # shown with a question
    max_tokens: int = 300  # of an answer
    connect_s: float = 10.0
    stall_s: float = 30.0  # without a byte
    total_s: float = 120.0


class ClosedModel:
    """One stream, watched for a model that takes pictures; told of canvases, asked questions."""

    def __init__(
        self,
        endpoint: Endpoint,
        draw: Draw,
        keyframes: KeyframeConfig | None = None,
        config: AskConfig | None = None,
    ) -> None:
        self.chooser = KeyframeChooser(keyframes or KeyframeConfig())
        self._endpoint, self._draw, self._config = endpoint, draw, config or AskConfig()
        self._drawn: dict[int, str] = {}  # by a keyframe's number: as a data URL

    def see(self, canvas: Canvas, now: float, alarm: bool = False) -> None:
        """A new canvas at a time of the stream, and whether the gate calls it an event. Cheap: nothing is drawn."""
        self.chooser.see(canvas, now, alarm)

    async def ask(self, question: str, now: float) -> AsyncGenerator[str, None]:
        """The answer, piece by piece. Closing the iterator, or cancelling, closes the connection at once."""
        shown = self.chooser.for_question(now, self._config.pictures)
        kept = {keyframe.number for keyframe in self.chooser.chosen}
        self._drawn = {number: url for number, url in self._drawn.items() if number in kept}
        for keyframe in shown:
            if keyframe.number not in self._drawn:
                self._drawn[keyframe.number] = await asyncio.to_thread(self._data_url, keyframe.canvas)
        pictures = [(keyframe, self._drawn[keyframe.number]) for keyframe in shown]
        async with aclosing(self._post(self._body(pictures, question, now))) as parts:
            async for part in parts:
                yield part

    def _data_url(self, canvas: Canvas) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self._draw(canvas)).decode()

    def _body(self, pictures: Sequence[tuple[Keyframe, str]], question: str, now: float) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        for keyframe, url in pictures:
            content.append({"type": "text", "text": caption(keyframe, now)})
            content.append({"type": "image_url", "image_url": {"url": url}})
        if not pictures:
            content.append({"type": "text", "text": "The camera has shown nothing yet."})
        content.append({"type": "text", "text": question})
        return {
            "model": self._endpoint.model,
            "stream": True,
            "max_tokens": self._config.max_tokens,
            "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": content}],
        }

    async def _post(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        http, config = _aiohttp(), self._config
        timeout = http.ClientTimeout(total=config.total_s, sock_connect=config.connect_s, sock_read=config.stall_s)
        headers = {"Accept": "text/event-stream"}
        if self._endpoint.key:
            headers["Authorization"] = f"Bearer {self._endpoint.key}"
        try:
            async with (
                http.ClientSession(timeout=timeout, headers=headers) as session,
                session.post(self._endpoint.url, json=body, allow_redirects=False) as response,
                aclosing(self._answer(response)) as parts,
            ):
                async for part in parts:
                    yield part
        except ModelError as error:
            raise self._error(str(error), error.retry_after_s) from None
        except TimeoutError:
            raise self._error(f"no answer in time; is the model loaded? ({config.stall_s:g} s without a byte or "
                              f"{config.total_s:g} s in all are given up)") from None  # fmt: skip
        except http.ClientPayloadError:
            raise self._error("the connection was cut in the middle of the answer; ask again") from None
        except http.ClientConnectorError:
            raise self._error("cannot be reached; start the endpoint, or give another address") from None
        except (http.ClientOSError, http.ServerDisconnectedError):
            raise self._error("hung up without an answer; ask again, or look at its log") from None
        except (http.ClientError, ValueError) as error:
            raise self._error(f"does not speak HTTP as it should ({type(error).__name__})") from None

    async def _answer(self, response: aiohttp.ClientResponse) -> AsyncGenerator[str, None]:
        if response.status != 200:
            raise await _refusal(response, self._endpoint)
        if response.content_type == "application/json":
            yield whole_answer(await _read(response, MAX_STREAM))
            return
        if response.content_type != "text/event-stream":
            raise ModelError(f"answers {response.content_type}, not a stream of events; is the path right?")
        events = EventStream()
        async for chunk in response.content.iter_any():
            for data in events.feed(chunk):
                if data.strip() == DONE:
                    return
                if part := answer_part(data):
                    yield part
        raise ModelError("the connection was cut in the middle of the answer; ask again")

    def _error(self, text: str, retry_after_s: float | None = None) -> ModelError:
        """Names the address; whatever the other side says, the key is not repeated."""
        if self._endpoint.key:
            text = text.replace(self._endpoint.key, "(the key)")
        return ModelError(f"{self._endpoint.shown}: {text}", retry_after_s)


def caption(keyframe: Keyframe, now: float) -> str:
    """What stands above a picture."""
    why = ", an event" if keyframe.alarm else ""
    return f"{keyframe.time_s:.1f} s, {max(0.0, now - keyframe.time_s):.1f} s ago{why}:"


async def _refusal(response: aiohttp.ClientResponse, endpoint: Endpoint) -> ModelError:
    said = error_text(await _read(response, MAX_ERROR))
    tail = f" (it says: {said})" if said else ""
    wait = _retry_after(response)
    match response.status:
        case 401 | 403:
            what = f"set {KEY} to a key of this endpoint" if not endpoint.key else f"it refuses the key in {KEY}"
            text = f"not allowed, {response.status}: {what}"
        case 404:
            text = f"404, no such path, or no model {endpoint.model!r}: check the address and ?model="
        case 429:
            text = f"429, too many questions: ask again {f'in {wait:g} s' if wait is not None else 'later'}"
        case status if 300 <= status < 400:
            text = f"{status}, it points elsewhere; give the address that it points to"
        case status if status >= 500:
            text = f"{status}, the endpoint itself failed: ask again, or look at its log"
        case status:
            text = f"{status}, it refuses the question; does model {endpoint.model!r} take pictures?"
    return ModelError(text + tail, wait)


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """A body up to a size; what is longer is cut, and then refused by whoever reads it."""
    out = bytearray()
    async for chunk in response.content.iter_any():
        out += chunk
        if len(out) > most:
            break
    return bytes(out[:most])


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds, from a number or a date; the date is compared with the endpoint's own clock."""
    text = response.headers.get("Retry-After", "")[:64]
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(response.headers.get("Date", "")[:64])
            seconds = (parsedate_to_datetime(text) - date).total_seconds()
        except (ValueError, TypeError):
            return None
    return seconds if 0 <= seconds < 86400 and math.isfinite(seconds) else None


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]


def _here(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _aiohttp() -> Any:
    try:
        import aiohttp
    except ImportError as error:
        raise MissingExtra("aiohttp", "server") from error
    return aiohttp
