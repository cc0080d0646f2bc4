"""The server: answers WebRTC offers, keeps each stream's canvas, has the model read it. It never sees a pixel.

endpoint --Connection--> events --Receiver--> canvas --every one--> model <-questions-- HTTP, page, --tell-me
                                      ^         |                     |
                                      |         +--newest, now and then--> Reader --labels--> report
                                      +-- feedback <--wishing-- room, questions, where answers looked

A stream's name, by which it is asked about, is told to its edge in the Welcome: {"stream": "stream 1"}.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from ssl import SSLContext

import numpy as np

from edge_gate.budget import Caps
from edge_gate.wishes import Wishes
from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint
from transport.adapters.host import Host
from transport.adapters.metrics_route import add_metrics
from transport.adapters.registry import Listener, listen
from transport.adapters.webrtc import WebRtcListener
from transport.errors import RemoteProtocolError
from transport.events import Closed, Connected, Resumed, Suspended
from transport.session import Session
from transport.states import Role
from transport.wire import CloseCode
from vidtok.canvas import Canvas, Grid, blank
from vidtok.entropy import load_tables
from vidtok.errors import ModelError
from vidtok.live.asking import add_questions
from vidtok.live.attending import Attending, Notice, Place
from vidtok.live.figures import Figures
from vidtok.live.inviting import Invitations, reachable
from vidtok.live.link import LIVE, codec_hash
from vidtok.live.models import BUILT_IN, OPEN, Model, load_model
from vidtok.live.page import add_page
from vidtok.live.receiver import Receiver, Update
from vidtok.live.showing import add_pictures
from vidtok.live.timeline import tracing
from vidtok.live.workers import load_workers
from vidtok.model.answerer import Answer
from vidtok.model.reader import Reader, Sight, in_one_thread
from vidtok.tokenizer.edge import load_info

# Rows about what happens, told as they happen: `event` names the kind.
Report = Callable[[Mapping[str, object]], None]
LABELS_S = 2.0  # between two readings of a stream's labels: they are for people
LOOK_S = 0.02  # between two looks at whether all is answered


class Newest:
    """A stream's newest update, for who does not read them all."""

    def __init__(self) -> None:
        self._update: Update | None = None
        self._came, self._ended = asyncio.Event(), asyncio.Event()

    def put(self, update: Update) -> None:
        """There is a newer one."""
        self._update = update
        self._came.set()

    def end(self) -> None:
        """There will be no more."""
        self._ended.set()
        self._came.set()

    async def get(self, rest_s: float) -> Update | None:
        """The newest after a rest, which the end cuts short; waits for one that was not got before. None: no more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self._ended.wait()
        await self._came.wait()
        update, self._update = self._update, None
        if not self._ended.is_set():
            self._came.clear()
        return update


class Server:
    """Serves any number of streams with one model; without one it tells labels only."""

    def __init__(
        self,
        reader: Reader,
        report: Report,
        caps: Caps | None = None,
        trace: Path | None = None,
        model: Model | None = None,
        conditions: Sequence[str] = (),
        log_questions: bool = False,
        labels_s: float = 0.0,
    ) -> None:
        self.sessions: dict[str, Session] = {}  # those that are open, by the stream's name
        self.receivers: dict[str, Receiver] = {}  # those that have begun, in order of their beginning
        self.attending: dict[str, Attending] = {}  # those that the model watches, in order of their beginning
        self.figures = Figures()
        self._reader, self._say, self._trace = reader, report, trace
        self._answering, self._conditions, self._log_questions = model, conditions, log_questions
        self._labels_s = labels_s
        self._wishes = Wishes() if caps is None else Wishes(caps.kbps, caps.tokens_per_s)
        self._tables = load_tables().ready()
        self._build = codec_hash(self._tables, load_info().digest)
        self._model = asyncio.Lock()  # one reading at a time, whoever asks
        self._ended = asyncio.Event()
        self._streams = 0
        self._ending = False
        self._served: set[Connection] = set()
        self._host = Host(self._session, self._serve)

    async def stream(self, endpoint: Endpoint) -> None:
        """Serve one stream until it ends, or go on with one whose path was lost; nobody once the server ends."""
        if not self._ending:
            await self._host.accept(endpoint)

    async def end(self, grace_s: float) -> None:
        """Let nobody else in, say goodbye, and wait so long for the answers that are in progress."""
        self._ending = True
        self._report({"event": "ending", "streams": len(self._served), "questions": self._questions()})
        await asyncio.gather(*(each.close(CloseCode.NORMAL, "the server ends") for each in self._served))
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._questions():
                    await asyncio.sleep(LOOK_S)
        for attending in self.attending.values():
            attending.close()  # which ends what is still being answered

    def metrics(self) -> str:
        """What the model does, as Prometheus reads it; nothing without a model."""
        if self._answering is None:
            return ""
        return self.figures.exposition(len(self.attending), self._answering.tally())

    def _questions(self) -> int:
        return sum(attending.answering for attending in self.attending.values())

    def _report(self, row: Mapping[str, object]) -> None:
        self.figures.heed(row)
        self._say(row)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        self._streams += 1
        name = f"stream {self._streams}"
        now, wall_ms = asyncio.get_running_loop().time(), round(time.time() * 1000)
        try:
            with tracing(trace_path(self._trace, self._streams)) as trace:
                self.sessions[name] = Session(
                    Role.RECEIVER, codec_hash=self._build, meta={"stream": name}, config=LIVE, now=now, wall_ms=wall_ms,
                    trace=trace,
                )  # fmt: skip
                yield self.sessions[name]
        finally:
            self.sessions.pop(name, None)
            self._ended.set()

    async def _serve(self, connection: Connection) -> None:
        name = next(name for name, session in self.sessions.items() if session is connection.session)
        receiver = Receiver(connection.session, self._tables)
        fresh = Newest()
        self._served.add(connection)
        reading = asyncio.create_task(self._read(name, receiver, fresh))
        try:
            await self._follow(name, connection, receiver, fresh)
        except RemoteProtocolError as error:
            self._report({"event": "refused", "stream": name, "reason": str(error)})
            await connection.close(CloseCode.PROTOCOL_ERROR, str(error)[:100])
        finally:
            self._served.discard(connection)
            self.receivers.pop(name, None)
            try:
                fresh.end()
                await reading  # of the newest; what went wrong there is told here
                await self._answered(name)
            finally:
                if (attending := self.attending.pop(name, None)) is not None:
                    attending.close()

    async def _answered(self, name: str) -> None:
        """Where it is the server that ends: wait until what was asked before is answered; whoever ends it cuts it."""
        while self._ending and name in self.attending and self.attending[name].answering:
            await asyncio.sleep(LOOK_S)

    def ask(self, stream: str, text: str) -> AsyncGenerator[str | Answer, None]:
        """Words of the answer to a question about a stream, then the whole; what it means for the edge is wished."""
        return self._attended(stream).ask(text)

    def notices(self, stream: str, condition: str) -> AsyncGenerator[Notice, None]:
        """Each time that the answer to a condition about a stream becomes yes."""
        return self._attended(stream).notices(condition)

    def looked(self, stream: str, answer: Answer) -> list[Place]:
        """Where in its frame an answer about a stream came from, most first."""
        return self.attending[stream].looked(answer) if stream in self.attending else []

    def _attended(self, stream: str) -> Attending:
        if self._answering is None:
            raise ModelError("this server runs no model that answers: start it without --model none")
        if stream not in self.attending:
            raise ModelError(f"{stream}: no such stream; there are {', '.join(self.attending) or 'none now'}")
        if self._ending:
            raise ModelError("the server ends: ask another one")
        return self.attending[stream]

    def streams(self) -> dict[str, Mapping[str, object]]:
        """What there is, in order of its beginning."""
        return {name: receiver.meta for name, receiver in self.receivers.items()}

    def canvases(self) -> dict[str, Canvas]:
        """The newest canvas of every stream."""
        return {name: receiver.canvas for name, receiver in self.receivers.items() if receiver.canvas is not None}

    async def ended(self) -> None:
        """Wait until a stream has ended."""
        await self._ended.wait()

    async def _follow(self, name: str, connection: Connection, receiver: Receiver, fresh: Newest) -> None:
        async for event in connection.events():
            update = receiver.on_event(event, connection.clock())
            if update is not None:
                connection.flush()
                self._report(self._arrival(name, receiver, update))
                if name in self.attending:
                    self.attending[name].show(update, self._late_s(receiver, update))
                fresh.put(update)
            elif isinstance(event, Connected):
                self._report(
                    {
                        "event": "connected",
                        "stream": name,
                        **{k: receiver.meta.get(k) for k in ("source", "width", "height", "fps")},
                    }
                )
                self.receivers[name] = receiver
                self._attend(name, connection, receiver)
                receiver.wish(self._wishes, connection.clock())
                connection.flush()
            elif isinstance(event, Suspended | Resumed):
                self._report({"event": type(event).__name__.lower(), "stream": name})
            elif isinstance(event, Closed):
                self._report({"event": "closed", "stream": name, "code": event.code, "reason": event.reason})

    def _attend(self, name: str, connection: Connection, receiver: Receiver) -> None:
        """Have the model watch a stream from its greeting on."""
        if self._answering is None:
            return

        def state(wishes: Wishes) -> None:
            receiver.wish(wishes, connection.clock())
            connection.flush()

        if name in self.attending:
            self.attending[name].close()
        assert receiver.canvas is not None
        self.attending[name] = Attending(
            self._answering, name, receiver.canvas, receiver.meta, self._wishes, connection.clock, state,
            self._report, self._conditions, self._log_questions,
        )  # fmt: skip

    @staticmethod
    def _late_s(receiver: Receiver, update: Update) -> float:
        """How long a patch was under way, as far as both clocks agree."""
        return max(0.0, time.time() - (receiver.started_wall_ms + update.capture_ms) / 1000)

    def _arrival(self, name: str, receiver: Receiver, update: Update) -> dict[str, object]:
        return {
            "event": "update", "stream": name, "version": update.canvas.version, "capture_ms": update.capture_ms,
            "tokens": update.edits.tokens, "state_hash": update.canvas.state_hash(),
            "latency_ms": round(time.time() * 1000 - receiver.started_wall_ms - update.capture_ms, 2),
        }  # fmt: skip

    async def _read(self, name: str, receiver: Receiver, fresh: Newest) -> None:
        """Read the newest canvas, after a rest the then newest: what came between is never queued."""
        rest_s = 0.0
        while (update := await fresh.get(rest_s)) is not None:
            rest_s = self._labels_s
            async with self._model:
                sight, seconds = await asyncio.to_thread(self._timed, update.canvas)
            self._report(
                {
                    "event": "sight",
                    "stream": name,
                    "version": update.canvas.version,
                    "capture_ms": update.capture_ms,
                    "labels": [[label, round(score, 3)] for label, score in sight.labels()],
                    "known_ms": round(time.time() * 1000 - receiver.started_wall_ms, 2),
                    "read_ms": round(seconds * 1000, 2),
                    "pooled": pack_pooled(sight.pooled),
                }
            )

    def _timed(self, canvas: Canvas) -> tuple[Sight, float]:
        began = time.perf_counter()
        return self._reader.read(canvas), time.perf_counter() - began


def trace_path(path: Path | None, number: int) -> Path | None:
    """Where the trace of the stream of that number goes, when `path` was asked for."""
    return None if path is None else path.with_name(f"{path.stem}-{number}{path.suffix}")


def pack_pooled(pooled: np.ndarray) -> str:
    """A pooled view as text: base64 of 16-bit floats."""
    return base64.b64encode(pooled.astype("<f2").tobytes()).decode()


def unpack_pooled(text: str) -> np.ndarray:
    """The pooled view back."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)


async def serve(
    host: str,
    port: int,
    *,
    token: str | None,
    report: Report,
    caps: Caps | None,
    once: bool,
    max_sessions: int = 8,
    trace: Path | None = None,
    metrics: bool = False,
    also: Sequence[str] = (),
    ice_servers: Sequence[str] = (),
    model: str = BUILT_IN,
    projector: Path | None = None,
    conditions: Sequence[str] = (),
    workers: int | None = None,
    log_questions: bool = False,
    labels_s: float = LABELS_S,
    told_to_end: asyncio.Event | None = None,
    grace_s: float = 3.0,
    page: bool = True,
    tls: SSLContext | None = None,
) -> None:
    """Listen until told to end or cancelled, or until the first stream has ended when `once` is asked for.

    On WebRTC at `host` and `port`, and on the URLs of `also`, whatever adapters they name. Told to end, answers in
    progress have `grace_s`. With `workers` the built-in model runs in so many processes. The page is at `/`.
    """
    if not model.startswith(OPEN):
        in_one_thread()
    reader = Reader()
    reader.read(blank(Grid(64, 64)))  # the first reading keeps everything waiting: better before anybody does
    answering = load_model(model, projector) if workers is None else load_workers(workers, report)
    server = Server(reader, report, caps, trace, answering, conditions, log_questions, labels_s)
    listener = WebRtcListener(
        host, port, token=token, on_endpoint=server.stream, max_sessions=max_sessions, ice_servers=ice_servers, ssl=tls
    )
    add_questions(listener, server)
    add_pictures(listener, server.canvases)
    if page:
        add_page(listener, answers=answering is not None, ice_servers=ice_servers)
    invitations = Invitations(listener, lambda url: report({"event": "page", "url": url})) if page and token else None
    if metrics:
        add_metrics(listener, lambda: server.sessions, more=server.metrics)
    others = [listen(url, server.stream, token=token, max_sessions=max_sessions) for url in also]
    scheme = "http" if tls is None else "https"
    started: list[Listener] = []
    thinking = None if answering is None else asyncio.create_task(answering.run())
    told = asyncio.Event() if told_to_end is None else told_to_end
    try:
        for each in (listener, *others):
            await each.start()
            started.append(each)
        for url, each in zip((_url(scheme, host, 0), *also), started, strict=True):
            report({"event": "listening", "url": re.sub(r":0$", f":{each.port}", url), "token": token})
        address = _url(scheme, reachable(host), listener.port)
        if invitations is not None:
            invitations.begin(address)
        elif page:
            report({"event": "page", "url": address + "/"})
        if await _first(told.wait(), server.ended() if once else asyncio.Event().wait()) == 0:
            listener.stop_accepting()
            await server.end(grace_s)
    finally:
        for each in started:
            await each.close()
        if thinking is not None:
            thinking.cancel()
            with suppress(asyncio.CancelledError):
                await thinking


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def _first(*waiting: Awaitable[object]) -> int:
    """Which of these is over first; the others are given up."""
    tasks = [asyncio.ensure_future(each) for each in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(k for k, task in enumerate(tasks) if task.done())
    finally:
        for task in tasks:
            task.cancel()
