"""The sender in another language: what edge_gate/web sends of a film is, byte for byte, what Python sends.

    scene --> Sender of Python, session back to back with a receiver's --> payloads, versions, reasons
                 | latents, verdicts, what the session answered, events         |
                 v                                                              = ?
              sender.js, the same frames -----------------------------> payloads, versions, reasons

Networks and transport are Python's in both: what is compared is everything between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from edge_gate.budget import Caps, Why
from edge_gate.network import GateNetwork, Verdict
from edge_gate.novelty import GateConfig
from edge_gate.scene import Scene
from tests.vidtok.tagging import Map, Tagged, number
from tests.vidtok.twin import TwinError
from transport.events import BaseLost, Event, FeedbackReceived, Refresh
from transport.session import Session
from transport.states import Role
from vidtok.bitstream import decode_payload
from vidtok.canvas import Grid, blank
from vidtok.codec import patch
from vidtok.edits import Kind
from vidtok.entropy import load_tables
from vidtok.live.link import Joined, codec_hash
from vidtok.live.receiver import Receiver
from vidtok.live.sender import SendConfig, Sender, Step, hello
from vidtok.tokenizer.edge import EdgeEncoder, load_info

LOGARITHM = 1e-5  # how far two languages' logarithms may be apart, after what the network is told was made of them


@cache
def encoder() -> EdgeEncoder:
    return EdgeEncoder()


@cache
def network() -> GateNetwork:
    return GateNetwork()


class Listening:
    """Python's encoder, network and session, and what they answered since this was last asked."""

    def __init__(self, session: Session, learned: bool) -> None:
        self.session, self.learned = session, learned
        self.latents: Any = None
        self.made_gist: Any = None
        self.asked: list[Any] = []
        self.verdict: Verdict | None = None
        self.allowances: list[int] = []
        self.sent: list[dict[str, Any]] = []
        self._allowance, self._send = session.allowance, session.send_delta
        session.allowance, session.send_delta = self.allowance, self.send_delta  # type: ignore[method-assign]

    def __call__(self, pixels: Any, position: tuple[int, int] = (0, 0)) -> Any:
        self.latents = encoder()(pixels, position)
        return self.latents

    def gist(self) -> Any:
        self.made_gist = encoder().gist()
        return self.made_gist

    def judge(self, asked: Any) -> Verdict:
        self.asked.append(asked)
        self.verdict = network()(asked)
        return self.verdict

    def allowance(self, now: float) -> int:
        self.allowances.append(self._allowance(now))
        return self.allowances[-1]

    def send_delta(self, **delta: Any) -> int:
        self.sent.append(delta)
        return self._send(**delta)

    def answers(self, now: float) -> dict[str, Any]:
        """What the session is about to say, as the stand-in is told of it; `allowances` fill up meanwhile."""
        self.asked, self.verdict, self.allowances, self.sent = [], None, [], []
        session = self.session
        said = {"base": session.base(now), "needed": sorted(session.needed()), "allowances": self.allowances}
        return {**said, "nextVersion": session.next_version, "maxPayload": session.max_payload}


@dataclass
class Case:
    """A film, and what happens to its stream."""

    name: str
    size: tuple[int, int] = (256, 256)
    frames: int = 30
    fps: float = 10.0
    scene: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0
    config: SendConfig = field(default_factory=SendConfig)
    feedback: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    lost: tuple[range, ...] = ()  # frames while which nothing of the sender's arrives
    refresh: tuple[int, ...] = ()  # frames at which the receiver asks for everything again
    interest: Mapping[int, float] = field(default_factory=dict)
    repeat: int = 1  # every frame is shown so often
    channels: int = 3
    rate: float | None = None  # bytes a second that the network takes
    expects: tuple[Why, ...] = ()

    def __str__(self) -> str:
        return self.name


WISHES = {
    4: {"kbps": 12.0, "tokens_per_s": 60},
    9: {"interest": 4.0, "attention": {"at": [0, 0], "cols": 8, "weights": bytes(range(0, 256, 4))}},
    14: {"detail": [[64, 64, 96, 40], [-40, 250, 60, 3]], "interest": 0.3},
    17: {"detail": [[64, 64, 96, 40], [-40, 250, 60, 3]], "interest": 0.3},
    20: {"kbps": 3.5, "attention": {"at": [-70, 64], "cols": 3, "weights": bytes([0, 9, 200, 7, 0, 255] * 3)}},
    24: {},
}
TIGHT = SendConfig(caps=Caps(4.0, 20.0))
WIDE = SendConfig(caps=Caps(400.0, 3000.0), price=0.2, token_price=0.0)
CASES = [
    Case("tour", scene={"variant": "tour"}, first=60, expects=(Why.NEWS, Why.TOO_DEAR)),
    Case("events", scene={"variant": "events", "seed": 3}, first=20, frames=40, expects=(Why.EVENT, Why.NOTHING_NEW)),
    Case(
        "clean, settling", scene={"variant": "still", "noise": False}, frames=36, fps=3.0, config=SendConfig(price=0.3),
        expects=(Why.REFINED,),
    ),
    Case("tight caps", scene={"variant": "handheld"}, fps=16.0, config=TIGHT, expects=(Why.NO_ROOM,)),
    Case("wide caps, many packets", scene={"variant": "pan"}, first=8, frames=20, config=WIDE),
    Case("wishes", scene={"variant": "events", "seed": 1}, first=30, feedback=WISHES, interest={8: 2.0, 18: 1.0}),
    Case("a floor", scene={"variant": "still", "seed": 5}, frames=40, config=SendConfig(refresh_s=2.0)),
    Case(
        "lost packets", scene={"variant": "tour"}, first=70, frames=40, lost=(range(3, 9), range(20, 31)),
        refresh=(15,), config=SendConfig(caps=Caps(60.0, 600.0), refresh_s=3.0),
    ),
    Case("an odd size, RGBA", (240, 208), scene={"variant": "tour", "seed": 2}, first=75, channels=4),
    Case("a slow network", scene={"variant": "scroll"}, frames=24, config=WIDE, rate=3000.0),
    Case(
        "without the network", (176, 112), scene={"variant": "tour"}, first=90, frames=24, repeat=3, fps=20.0,
        config=SendConfig(learned=False, levels=4, gist_s=0.0, gate=GateConfig(blend=0.5, jump=0.05)),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_frame_of_a_film_is_sent_alike(sender_twin: Tagged, case: Case) -> None:
    pair = Pair(sender_twin, case)
    pair.play()
    reasons = set(np.concatenate([why.ravel() for why in pair.reasons]).tolist())
    assert reasons >= set(case.expects), f"this film tests less than it is there for: {sorted(map(Why, reasons))}"
    for what, count in pair.happened.items():
        assert count, f"this film tests less than it is there for: no {what}"


class Pair:
    """Both senders, frame by frame."""

    def __init__(self, twin: Tagged, case: Case) -> None:
        self.twin, self.case = twin, case
        grid, tables, info = Grid(*case.size), load_tables(), load_info()
        build = codec_hash(tables, info.digest)
        meta = dict(hello(grid, case.fps, case.name))
        session = Session(Role.SENDER, codec_hash=build, meta=meta, now=0.0, wall_ms=0, session_id=bytes(16))
        theirs = Session(Role.RECEIVER, codec_hash=build, meta={}, now=0.0, wall_ms=0)
        self.cut = False
        hears = theirs.receive_datagram
        theirs.receive_datagram = lambda data, now: [] if self.cut else hears(data, now)  # type: ignore[method-assign]
        self.joined, self.receiver = Joined(session, theirs), Receiver(theirs, tables)
        self.listening = Listening(session, case.config.learned)
        listening: Any = self.listening
        self.sender = Sender(grid, session, listening, info, tables, case.config, listening.judge)
        words = {"sensitivity": info.sensitivity, "gistSensitivity": info.gist_sensitivity}
        config = settings_words(case.config)
        twin.ask("start", width=grid.width, height=grid.height, info=words, config=config, learned=case.config.learned)
        self.reasons: list[Any] = []
        self.happened: dict[str, int] = {"payload": 0}
        if case.lost:
            self.happened |= {"base lost": 0, "refresh": 0}
        if case.config.caps.kbps > 100 and case.rate is None:
            self.happened |= {"frame in many packets": 0}
        if case.feedback:
            self.happened |= {"feedback": 0}

    def play(self) -> None:
        case = self.case
        scene = Scene(case.size, case.fps / case.repeat, noise=case.scene.get("noise", True), **_without_noise(case))
        self.advance(0.0)
        for k in range(case.frames):
            now = k / case.fps
            if k in case.feedback:
                self.joined.receiver.send_feedback(case.feedback[k], now)
            if k in case.refresh:
                self.joined.receiver.request_refresh("a test", now)
            self.cut = any(k in lost for lost in case.lost)
            if case.rate is not None:
                self.joined.sender.path_is_behind(int(max(0.0, self.sent_bytes - case.rate * now)))
            self.advance(now)
            self.sender.interest = case.interest.get(k, self.sender.interest)
            self.look(scene.frame(case.first + k // case.repeat).pixels, now)
            self.tell(now, now + 0.003, again=False)
            self.advance(now + 0.003)

    sent_bytes = 0

    def advance(self, now: float) -> None:
        for session, when, event in self.joined.advance(now):
            if session is self.joined.sender:
                self.on_event(event, when)
            else:
                self.receiver.on_event(event, when)

    def on_event(self, event: Event, now: float) -> None:
        self.sender.on_event(event)
        words: dict[str, Any] = {"type": type(event).__name__}
        if isinstance(event, FeedbackReceived):
            words["feedback"] = Map.of(dict(event.feedback))
        told = self.twin.ask("event", event=words)
        caps = self.sender.ledger.caps
        assert told["caps"] == {"kbps": caps.kbps, "tokensPerS": caps.tokens_per_s}
        names = {BaseLost: "base lost", Refresh: "refresh", FeedbackReceived: "feedback"}
        if (name := names.get(type(event))) in self.happened:
            self.happened[str(name)] += 1
        if isinstance(event, BaseLost):
            self.tell(0.0, now, again=True)

    def look(self, pixels: Any, time_s: float) -> None:
        mine = self.listening
        mine.latents = mine.made_gist = None
        self.sender.look(pixels, time_s)
        theirs = self.twin.ask(
            "look", pixels=pixel_words(pixels, self.case.channels), timeS=number(time_s), latents=mine.latents,
            gist=mine.made_gist, interest=number(self.sender.interest),
        )  # fmt: skip
        view = self.sender.view
        assert view is not None
        for name, array in (("latents", view.latents), ("values", view.values), ("seen", self.sender.seen)):
            assert np.array_equal(theirs[name], np.ravel(array)), name
        assert np.array_equal(theirs["gist"], view.gist)
        assert np.array_equal(theirs["gistValues"], view.gist_values)
        assert theirs["gistTimeS"] == view.gist_time_s
        np.testing.assert_allclose(theirs["glimpse"], view.glimpse.ravel(), rtol=LOGARITHM, atol=LOGARITHM)

    def tell(self, time_s: float, now: float, again: bool) -> None:
        mine = self.listening
        answers = mine.answers(now)
        step = self.sender.again(now) if again else self.sender.tell(time_s, now)
        verdict = {"lasts": mine.verdict.lasts_s, "event": mine.verdict.event} if mine.verdict else None
        theirs = self.twin.ask(
            "tell", timeS=number(time_s), now=number(now), again=again, answers=answers, verdict=verdict
        )
        self.compare(step, theirs)

    def compare(self, step: Step, theirs: dict[str, Any]) -> None:
        sent = [
            {"base": d["base"], "captureMs": d["capture_ms"], "stateHash": d["state_hash"], "payload": d["payload"]}
            for d in self.listening.sent
        ]
        got = [{**{key: each[key] for key in sent[0]}, "payload": each["payload"].tobytes()} for each in theirs["sent"]]
        assert got == sent
        self.sent_bytes += step.payload_bytes
        said = theirs["step"]
        names = {"version": "version", "looked": "looked", "tokens": "tokens", "payload_bytes": "payloadBytes"}
        assert {name: said[their] for name, their in names.items()} == {name: getattr(step, name) for name in names}
        assert said["alarm"] == step.alarm
        assert np.array_equal(said["kind"], step.kind.ravel())
        np.testing.assert_allclose(said["score"], step.score.ravel(), atol=1e-6)
        assert np.array_equal(theirs["why"], self.sender.explain().ravel())
        canvas = self.sender.canvas
        assert theirs["canvas"]["version"] == canvas.version
        for name in ("values", "depth", "changed"):
            assert np.array_equal(theirs["canvas"][name], getattr(canvas, name).ravel()), name
        assert theirs["unasked"] == 0, "allowance() was asked less often than in Python"
        assert len(theirs["asked"]) == len(self.listening.asked)
        for asked, question in zip(theirs["asked"], self.listening.asked, strict=True):
            np.testing.assert_allclose(asked, question.ravel(), rtol=LOGARITHM, atol=LOGARITHM)
        self.reasons.append(theirs["why"])
        self.happened["payload"] += bool(sent)
        if "frame in many packets" in self.happened:
            self.happened["frame in many packets"] += len(sent) > 1


def _without_noise(case: Case) -> dict[str, Any]:
    return {key: value for key, value in case.scene.items() if key != "noise"}


def pixel_words(pixels: Any, channels: int) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    if channels == 4:
        pixels = np.concatenate([pixels, np.full((height, width, 1), 255, np.uint8)], -1)
    return {"data": pixels, "width": width, "height": height, "channels": channels}


def camel(words: Mapping[str, Any]) -> dict[str, Any]:
    heads, tails = zip(*((key.partition("_")[0], key.split("_")[1:]) for key in words), strict=True)
    names = [head + "".join(part.title() for part in tail) for head, tail in zip(heads, tails, strict=True)]
    return {name: number(value) for name, value in zip(names, words.values(), strict=True)}


def settings_words(config: SendConfig) -> dict[str, Any]:
    words = asdict(replace(config))
    gate, caps = words.pop("gate"), words.pop("caps")
    of_python = ("pan", "move_reach", "learned")
    kept = {key: value for key, value in words.items() if key not in of_python}
    return {**camel(kept), "gate": camel(gate), "caps": camel(caps)}


def test_one_call_at_a_time(sender_twin: Tagged) -> None:
    Pair(sender_twin, CASES[0])
    assert sender_twin.ask("overlapping") == {"errors": ["LocalProtocolError"] * 2, "busy": [True, False]}
    with pytest.raises(TwinError, match=r"LocalProtocolError.*before the first look"):
        sender_twin.ask("tell", timeS=0, now=0, answers={"allowances": []})


def test_a_base_that_is_lost_while_the_network_thinks(sender_twin: Tagged) -> None:
    """Then all is weighed anew, against what the receiver holds: here, nothing."""
    pair = Pair(sender_twin, Case("short", frames=5, config=WIDE))
    pair.play()
    pair.look(Scene((256, 256), 10.0).frame(90).pixels, 0.9)
    answers = {**pair.listening.answers(0.9), "allowances": [9000] * 9}
    assert answers["base"] > 1
    cells = pair.sender.grid.rows * pair.sender.grid.cols
    verdict = {"lasts": np.full(cells, 20, np.float32), "event": np.zeros(cells, np.float32)}
    told = sender_twin.ask(
        "tell", timeS=0.9, now=0.9, again=False, answers=answers, verdict=verdict, meanwhile={**answers, "base": 0}
    )
    assert len(told["asked"]) == 2
    assert [delta["base"] for delta in told["sent"]][:1] == [0]
    first = told["sent"][0]
    edits = decode_payload(blank(pair.sender.grid), first["payload"].tobytes(), load_tables())
    after = patch(blank(pair.sender.grid), edits, answers["nextVersion"])
    assert first["stateHash"] == after.state_hash()
    assert (edits.kind == Kind.SET).any()
