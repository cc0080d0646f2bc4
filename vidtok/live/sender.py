"""The edge, whole: frames in, patches handed to the transport session. Sans-IO: the clock is an argument.

    frame --motion--> position --+
      |                          |--glance: anything new?--no--> the last view stands
      +---------------------------+--encoder--> view: latents, values
                                                  |
    session.base() -> canvas -----------------------+--> novelty, moves, costs --> budget buys --> diff --> payloads
                                                                                                 |
                                            canvas of every version under way <-- patch <--------+

The view is compared with the very canvas that the receiver is known (or fairly assumed) to hold, so what a lost
packet carried is simply news again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_gate import wishes
from edge_gate.budget import (
    TICK_S,
    Allowance,
    Bought,
    Caps,
    GistOffer,
    Ledger,
    Offer,
    Price,
    Renewed,
    buy,
    explain,
    renew,
)
from edge_gate.floor import Floor
from edge_gate.memory import GateState, asked, remember, surprise
from edge_gate.motion import PanState, cell_moves, luma, track_pan
from edge_gate.network import GateNetwork, Network, Verdict
from edge_gate.novelty import (
    GateConfig,
    QuietState,
    by_level,
    coverage,
    glance,
    losses,
    missed,
    novelty,
    renewal,
    steady,
    thumbnail,
)
from transport.errors import LocalProtocolError
from transport.events import BaseLost, Event, FeedbackReceived, Refresh
from transport.session import Session
from vidtok.bitstream import encode_payload, gist_costs, value_costs
from vidtok.canvas import CELL, Canvas, Grid, blank
from vidtok.codec import MOVE_REACH, diff, patch, split
from vidtok.edits import Pan, Patch
from vidtok.entropy import Tables
from vidtok.tokenizer.edge import EdgeEncoder, TokenizerInfo
from vidtok.tokenizer.fsq import EDGES, GIST, GIST_EDGES, LEVELS, dequantise, known, quantise

HEADER_BITS = 8 * 16  # of one packet, at most; always counted in full, so that decisions do not hang on the clock
CONTROL_BITS = 256  # a second, kept free for heartbeats
MOST_MOVES = 300  # in one frame: with the pan they must fit one packet, whatever their shifts
FRAME_SHARE = 0.5  # of what is left of the second, for one frame: something is kept for the next
SMALL_BITS = 800  # of what is left are never divided: even a small cap buys something
PACKET_BITS = 8 * 40  # what a packet and its acknowledgement cost beside the payload, below the session too
FAINT = 1.4  # squared distance of a cell of which half of an alert is worth telling; rounding alone makes 1
RENEWAL = 1e4  # what telling a cell anew is worth when it is due: it comes before all else
PATIENCE_S = 0.5  # until what was not worth telling is weighed again
_TRIES = 4  # at fitting the payload into what may be spent


@dataclass(frozen=True)
class SendConfig:
    """How the edge spends."""

    caps: Caps = field(default_factory=Caps)
    gate: GateConfig = field(default_factory=GateConfig)
    price: float = 12.0  # what a thousand bits must spare the model to be worth sending: low is fine, high is coarse
    token_price: float = 3.0  # what a model token must spare the model beside its bits
    levels: int = LEVELS  # levels that a cell is told on at most
    learned: bool = True  # whether the gate's network says how long news lasts and where something happens
    alert: float = 10.0  # what telling of an event is worth beside what it spares the model
    trust: float = 0.3  # what of the seconds that the network expects news to last is counted,
    least_s: float = 4.0  # and what is added to them: what moves on counts too
    first_s: float = 3.0  # without the network: how long news is expected to last when it has just come
    last_s: float = 8.0  # and at most, however long it has stood
    gist_s: float = 6.0  # how long a gist is expected to last; 0 sends none
    gist_every_s: float = 0.1  # how often a new one is made at most
    refresh_s: float = 0.0  # no cell in sight stays as it was told for longer; 0: as long as it is no news
    pan: bool = False  # follow the camera: spares bits where it pans before a flat scene, costs elsewhere (see the log)
    move_reach: int = 0  # cells; 0 switches moves off: on real clips they spare nothing (see the log)

    def __post_init__(self) -> None:
        if not 0 <= self.move_reach <= MOVE_REACH:
            raise ValueError(f"move_reach {self.move_reach} is not 0 to {MOVE_REACH} cells")
        if not 0 <= self.refresh_s < math.inf:
            raise ValueError(f"refresh_s {self.refresh_s} is not zero or more")


@dataclass(frozen=True, eq=False)
class View:
    """What the tokenizer saw last, through the grid at one position."""

    position: tuple[int, int]
    latents: NDArray[np.float32]  # (rows, cols, CHANNELS)
    values: NDArray[np.uint8]  # the same, rounded
    gist: NDArray[np.float32]  # (GIST,), latents of the whole frame
    gist_values: NDArray[np.uint8]  # the same, rounded
    gist_time_s: float  # when that was made
    glimpse: NDArray[np.float32]  # (rows, cols, ...), what the gate's network is told of the look


@dataclass(frozen=True, eq=False)
class Step:
    """What one frame led to: for people, logs and tests."""

    version: int  # the newest version handed to the session
    looked: bool  # the tokenizer ran
    score: NDArray[np.float32]  # (rows, cols), novelty
    kind: NDArray[np.uint8]  # (rows, cols), what was sent of each cell
    tokens: int
    payload_bytes: int
    position: tuple[int, int]
    offset: tuple[int, int]
    alarm: float  # the chance that something happens in this look: above the gate's threshold, worth waking a model


@dataclass(frozen=True, eq=False)
class Part:
    """Of what one frame sends, what one packet carries, and the canvas that it leads to."""

    after: Canvas
    payload: bytes
    tokens: int


class Sender:
    """Everything between a frame and the session; the caller moves frames, events and time."""

    def __init__(
        self,
        grid: Grid,
        session: Session,
        encoder: EdgeEncoder,
        info: TokenizerInfo,
        tables: Tables,
        config: SendConfig | None = None,
        network: Network | None = None,
    ) -> None:
        self.grid, self.session, self.config = grid, session, config or SendConfig()
        self._network = (network or GateNetwork()) if self.config.learned else None
        self.ledger = Ledger(self.config.caps)
        self._floor = Floor(self.config.refresh_s)
        self.wishes = wishes.Wishes()  # the receiver's
        self.interest = 1.0  # our application's own, times the receiver's: more than 1 while someone speaks, say
        self.canvas = blank(grid)  # the newest that was handed to the session and not given up
        self._encoder, self._tables = encoder, tables
        self._weights = info.sensitivity
        self._gist_weights = info.gist_sensitivity * grid.frame_cells
        self._canvases: dict[int, Canvas] = {0: self.canvas}
        self._pan: PanState | None = None
        self._gate: GateState | None = None
        self._alarm = 0.0
        self._bought: Bought | None = None
        self._expected: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None  # of events, of what is in sight
        self.seen: NDArray[np.float32] | None = None  # latents at the last look, as they came
        self.view: View | None = None
        self._looked = False
        self._told_s = 0.0
        self._settled: tuple[int, View, float, float] | None = None  # base, view, interest: nothing to say before when
        self._still = np.zeros((grid.rows, grid.cols), np.float32)

    def canvas_at(self, version: int) -> Canvas | None:
        """The canvas of a version that may still be under way."""
        return self._canvases.get(version)

    def on_event(self, event: Event) -> None:
        """React to what the transport hands up."""
        match event:
            case FeedbackReceived(feedback):
                before, self.wishes = self.wishes, wishes.read(feedback)
                self._settled = self._settled if self.wishes == before else None
                self.ledger.honour(self.wishes.kbps, self.wishes.tokens_per_s)
            case BaseLost() | Refresh():
                self._settled = None
            case _:
                pass

    def step(self, pixels: NDArray[np.uint8], time_s: float, now: float) -> Step:
        """Take in one frame, filmed `time_s` after the session began, and send; `now` is the session's clock."""
        self.look(pixels, time_s)
        return self.tell(time_s, now)

    def again(self, now: float) -> Step:
        """What was assumed to arrive did not: tell the last look anew, without waiting for the next."""
        return self.tell(self._told_s, now)

    def tell(self, time_s: float, now: float) -> Step:
        """Send what the last look found worth it: apart from `look` so that `now` can be read after that work."""
        self._told_s, self._alarm = time_s, 0.0
        self._forget()
        base = self.canvas = self._canvases[self.session.base(now)]
        view, looked = self.view, self._looked
        if view is None:
            raise ValueError("tell() before the first look()")
        settled = self._settled
        if settled is not None and settled[:3] == (base.version, view, self.interest) and time_s < settled[3]:
            return self._report(looked, self._still, None, 0)
        before = base.panned(view.position[0] - base.position[0], view.position[1] - base.position[1])
        held = dequantise(before.values)
        shown = coverage((self.grid.width, self.grid.height), before.offset, CELL)
        score = novelty(view.latents, held, known(before.depth), self._weights, self.config.gate)
        score = np.where(shown >= self.config.gate.coverage, score * shown, 0).astype(np.float32)
        moves = self._moves(view, held, before, score)
        verdict = self._judge(view, held, before, shown, time_s)
        offer = self._offer(view, held, before, shown, moves, verdict)
        left = self.ledger.left(time_s)
        funds = self._funds(left, now)
        due = self._floor.due(before.changed, shown >= self.config.gate.coverage, time_s, math.ceil(funds.tokens / 2))
        if due.any():
            offer = replace(offer, set_gain=offer.set_gain + RENEWAL * due[..., None].astype(np.float32))
        edits, payloads = self._choose(view, base, offer, moves, funds, left)
        if not payloads:
            if funds.bits >= SMALL_BITS / 2 and funds.tokens > 1:
                self._settle(base, view, time_s)
            return self._report(looked, score, None, 0)
        self.ledger.spend(time_s, wire_bits(payloads), edits.tokens)
        first = self.session.next_version
        sent = self._send(base, payloads, time_s, now)
        self._floor.sent(range(first, self.session.next_version), time_s)
        return self._report(looked, score, edits, sent)

    # -- seeing

    def look(self, pixels: NDArray[np.uint8], time_s: float) -> None:
        """Glance; if something may have changed, follow the camera and run the tokenizer."""
        gate = self._gate or GateState(QuietState.start(self.grid.rows, self.grid.cols, time_s))
        settings = self.config.gate
        self._looked, glanced = glance(gate.glance, thumbnail(pixels), time_s, settings)
        if not self._looked:
            return
        position = (0, 0)
        if self.config.pan:
            self._pan = track_pan(self._pan, luma(pixels))
            position = self._pan.position
        if self.view is not None and self.view.position != position:
            right, down = (new // CELL - old // CELL for new, old in zip(position, self.view.position, strict=True))
            gate = gate.shifted(down, right, time_s)
            glanced = replace(glanced, woken=False)  # a moved grid sees the same a little differently: no event
        self.seen = self._encoder(pixels, position)
        glimpse, memory = remember(gate.memory, self.seen, time_s, EDGES)
        before, quiet = gate.latents, gate.quiet
        latents = steady(before, self.seen, self._weights, settings.jump, settings.blend)
        if before is not None:
            restless = novelty(latents, np.nan_to_num(before), ~np.isnan(before), self._weights, settings)
            quiet = quiet.watched(restless, time_s, settings)
        self._gate = replace(gate, quiet=quiet, glance=glanced, latents=latents, memory=memory)
        gist, made_s = np.zeros(GIST, np.float32), time_s
        if self.view is not None and time_s - self.view.gist_time_s < self.config.gist_every_s - TICK_S:
            gist, made_s = self.view.gist, self.view.gist_time_s
        elif self.config.gist_s > 0:
            last = None if self.view is None else self.view.gist
            gist = steady(last, self._encoder.gist(), self._gist_weights, settings.gist_jump, settings.blend)
        self.view = View(position, latents, quantise(latents), gist, quantise(gist), made_s, glimpse)

    # -- choosing

    def _funds(self, left: Allowance, now: float) -> Allowance:
        """What this frame may spend of what is left, its first header aside."""
        free = left.bits - min(CONTROL_BITS, self.ledger.caps.kbps * 250)
        bits = min(max(free * FRAME_SHARE, min(free, SMALL_BITS)), self.session.allowance(now) * 8.0) - HEADER_BITS
        return Allowance(bits, math.ceil(left.tokens * FRAME_SHARE))

    def _choose(
        self, view: View, base: Canvas, offer: Offer, moves: NDArray[np.int8], funds: Allowance, left: Allowance
    ) -> tuple[Patch, list[Part]]:
        """What to send, as one patch and as the payloads that carry it; none when nothing is worth sending."""
        bits, tokens = funds.bits, funds.tokens
        pan = Pan(view.position[0] - base.position[0], view.position[1] - base.position[1])
        panned = int(pan != Pan(0, 0))
        share = 1.0 if tokens >= panned else 0.0
        price = Price(self.config.price / 1000, self.config.token_price)
        gist_offer = self._gist_offer(view, base)
        for _ in range(_TRIES):
            gist = renew(gist_offer, bits * share * (tokens > panned), price)
            used = panned + (gist.levels > 0)
            bought = buy(offer, Allowance(max(0.0, bits * share - gist.bits), tokens - used), price, left)
            self._bought = bought
            edits = self._edits(view, base, bought, gist, moves, pan)
            worth = bought.surplus + gist.surplus > price.bit * PACKET_BITS
            if share == 0 or edits.tokens == 0 or not (panned or worth):
                break
            payloads = in_packets(base, edits, self.session, self._tables)
            if wire_bits(payloads) <= bits + HEADER_BITS:
                return edits, payloads
            share *= 0.8
        return edits, []

    def _edits(
        self, view: View, base: Canvas, bought: Bought, gist: Renewed, moves: NDArray[np.int8], pan: Pan
    ) -> Patch:
        moving = np.where(bought.moved[..., None], moves, 0).astype(np.int8)
        whole = np.where(gist.told, view.gist_values, base.gist)
        return diff(
            view.values, base, bought.set_to, refine_to=bought.refine_to, pan=pan, moves=moving,
            gist=whole, gist_to=gist.levels,
        )  # fmt: skip

    def _gist_offer(self, view: View, base: Canvas) -> GistOffer:
        """What every number of a new gist would spare the model while it lasts."""
        held = np.arange(GIST) < GIST_EDGES[base.gist_depth]
        noise = self.config.gate.noise
        gain = renewal(view.gist, dequantise(view.gist_values), dequantise(base.gist), held, noise)
        told, kept = gist_costs(base, view.gist_values, self._tables)
        lasts_s = np.float32(self.config.gist_s * self.interest * self.wishes.interest)
        return GistOffer(gain * self._gist_weights * lasts_s, told, kept, GIST_EDGES)

    def _moves(
        self, view: View, held: NDArray[np.float32], before: Canvas, score: NDArray[np.float32]
    ) -> NDArray[np.int8]:
        weights = np.sqrt(self._weights / self._weights.mean())
        news = (score > self.config.gate.news) & (before.depth > 0)
        moves = cell_moves(
            view.latents * weights, held * weights, known(before.depth), news,
            reach=self.config.move_reach, tolerance=self.config.gate.floor,
        )  # fmt: skip
        beyond = np.flatnonzero(moves.any(-1))[MOST_MOVES:]
        moves.reshape(-1, 2)[beyond] = 0
        return moves

    def _judge(
        self, view: View, held: NDArray[np.float32], before: Canvas, shown: NDArray[np.float32], time_s: float
    ) -> Verdict:
        """How long news lasts, and where something happens; without the network, what has stood is likely to stay."""
        assert self._gate is not None
        quiet = self._gate.quiet.quiet_s(time_s)
        if self._network is None:
            lasts = np.clip(self.config.first_s + quiet, self.config.first_s, self.config.last_s)
            return Verdict(lasts, np.zeros_like(lasts))
        said = self._network(asked(view.glimpse, view.latents, held, known(before.depth), quiet, shown, EDGES))
        lasts = self.config.trust * said.lasts_s + np.float32(self.config.least_s)
        if not self._looked or not self._gate.glance.woken:  # what no glance notices is no event
            return Verdict(lasts, np.zeros_like(lasts))
        new, busy = surprise(said.event, self._gate.busy, time_s - self._gate.judged_s)
        self._gate = replace(self._gate, busy=busy, judged_s=time_s)
        self._alarm = float((new * (shown >= self.config.gate.coverage)).max())
        return Verdict(lasts, new)

    def _offer(
        self,
        view: View,
        held: NDArray[np.float32],
        before: Canvas,
        shown: NDArray[np.float32],
        moves: NDArray[np.int8],
        verdict: Verdict,
    ) -> Offer:
        """What every edit would spare the model while it lasts, and what it tells of an event."""
        config, depth = self.config, before.depth
        in_sight = np.where(shown >= config.gate.coverage, shown, 0)[..., None].astype(np.float32)
        factor = wishes.counts(self.wishes, view.position, in_sight[..., 0] > 0, CELL) * np.float32(self.interest)
        lasts = in_sight * (verdict.lasts_s * factor)[..., None]
        loss = losses(
            view.latents, dequantise(view.values), held, known(depth), self._weights, EDGES, config.gate.noise
        )
        allowed = np.arange(LEVELS) < config.levels
        move_gain = np.zeros(depth.shape, np.float32)
        rows, cols = np.nonzero(moves.any(-1))
        source = rows + moves[rows, cols, 1], cols + moves[rows, cols, 0]
        left = missed(view.latents[rows, cols], held[source], known(depth[source]), 0.0) * self._weights
        move_gain[rows, cols] = loss.now[rows, cols].sum(-1) - left.sum(-1)
        set_gain, refine_gain = loss.set_gain(), loss.refine_gain(depth)
        unlike = np.cumsum(by_level(missed(view.latents, held, known(depth), 0.0), EDGES), -1)
        shown_of_it = unlike / (unlike[..., -1:] + FAINT)
        alert = in_sight * config.alert * (verdict.event * factor)[..., None] * shown_of_it
        self._expected = alert[..., -1], in_sight[..., 0] > 0
        return Offer(
            set_gain=np.asarray((set_gain * lasts + alert) * allowed, np.float32),
            refine_gain=refine_gain * lasts * allowed,
            move_gain=move_gain * lasts[..., 0],
            set_bits=value_costs(before, view.values, self._tables),
            depth=depth,
        )

    # -- sending

    def _send(self, base: Canvas, parts: list[Part], time_s: float, now: float) -> int:
        canvas, sent = base, 0
        for part in parts:
            if self.session.allowance(now) <= 0:
                break
            version = self.session.send_delta(
                base=canvas.version,
                payload=part.payload,
                capture_ms=round(time_s * 1000),
                state_hash=part.after.state_hash(),
                now=now,
            )
            self._canvases[version] = canvas = part.after
            sent += len(part.payload)
        self.canvas = canvas
        return sent

    def explain(self) -> NDArray[np.uint8]:
        """(rows, cols) of `edge_gate.budget.Why`: why each cell was or was not told of when cells were last weighed."""
        if self._bought is None or self._expected is None:
            raise LocalProtocolError("explain() before the first frame was told of")
        return explain(self._bought, *self._expected)

    def _settle(self, base: Canvas, view: View, time_s: float) -> None:
        """Remember that there is nothing to say until the view or the base changes or has stood for longer."""
        assert self._gate is not None
        quiet = self._gate.quiet.quiet_s(time_s)[base.visible()]
        stands = view.position == base.position and (quiet >= self.config.last_s).all() and not self.config.refresh_s
        self._settled = (base.version, view, self.interest, math.inf if stands else time_s + PATIENCE_S - TICK_S)

    def _forget(self) -> None:
        needed = self.session.needed() | {0}
        self._canvases = {version: canvas for version, canvas in self._canvases.items() if version in needed}

    def _report(self, looked: bool, score: NDArray[np.float32], edits: Patch | None, sent: int) -> Step:
        kind = np.zeros(score.shape, np.uint8) if edits is None else edits.kind
        tokens = 0 if edits is None else edits.tokens
        canvas = self.canvas
        return Step(canvas.version, looked, score, kind, tokens, sent, canvas.position, canvas.offset, self._alarm)


def in_packets(base: Canvas, edits: Patch, session: Session, tables: Tables, count: int = 1) -> list[Part]:
    """The patch in at least `count` parts that each fit a packet; each goes on from the canvas the one before gives."""
    while True:
        parts, canvas = [], base
        for number, part in enumerate(split(edits, count)):
            after = patch(canvas, part, session.next_version + number)
            parts.append(Part(after, encode_payload(canvas, part, tables, after), part.tokens))
            canvas = after
        longest = max(len(part.payload) for part in parts)
        if longest <= session.max_payload:
            return parts
        count += -(-longest // session.max_payload) - 1


def wire_bits(parts: Sequence[Part]) -> int:
    """What they take with their headers."""
    return sum(len(part.payload) * 8 + HEADER_BITS for part in parts)


def hello(grid: Grid, fps: float, name: str) -> Mapping[str, object]:
    """What the sender's greeting says of its stream."""
    rate = int(fps) if fps % 1 == 0 else fps  # a whole one is shorter without its fraction
    return {"width": grid.width, "height": grid.height, "fps": rate, "source": name[:80]}
