"""The links that `loss_sweep` sends over: seeded, in virtual time, each a way there and a way back.

name --network--> Network: links(seed) -> (there, back), and what is known of them: loss, round trip, outages
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from transport.impair import PROFILES, Gilbert, Link
from transport.impair_traces import read_mahimahi

Links = tuple[Link, Link]

PLAIN_RTT_S = 0.1
PLAIN_BPS = 5e6
BURST = 3.0  # packets that a burst of loss takes in the mean
QUEUE_BYTES = 64_000
BROAD_BPS, NARROW_BPS = 5e6, 100e3
NARROW_FROM_S, NARROW_UNTIL_S = 5.0, 8.0
SCARCE = "0.7 of the needed rate"
OUTAGES = ((4.0, 4.4), (6.0, 6.9), (8.5, 10.0))  # seconds; the first frame is at 3.0


@dataclass(frozen=True)
class Network:
    """A kind of link; `outages` are those that `heal` is measured after."""

    name: str
    loss: float  # chance a packet, each way; of a trace None is known
    rtt_s: float
    links: Callable[[int], Links]
    outages: Sequence[tuple[float, float]] = field(default=())
    settled_s: float = 1.0  # after the first frame: from then on staleness counts


def networks(traces: Sequence[Path] = (), needed_bps: float | None = None) -> list[Network]:
    """All of them; with traces of packet opportunities (Mahimahi), and one that carries 0.7 of the needed rate."""
    out = [_plain(loss, None) for loss in (0.0, 0.01, 0.03, 0.1, 0.2, 0.3)]
    out += [_plain(loss, BURST) for loss in (0.03, 0.1, 0.2, 0.3)]
    out += [_profile(name) for name in PROFILES]
    out += [_with_outages(name) for name in PROFILES]
    out.append(_profile("geo", loss=0.03))
    out.append(Network("5 Mbps, 100 kbps, 5 Mbps", 0.0, PLAIN_RTT_S, narrowing))
    if needed_bps is not None:
        rate = 0.7 * needed_bps  # where the first picture alone takes seconds
        out.append(Network(SCARCE, 0.0, PLAIN_RTT_S, lambda seed: _scarce(rate, seed), settled_s=5.0))
    return out + [_trace(path) for path in traces]


def bursts(loss: float, mean: float = BURST) -> Gilbert:
    """Loss in bursts of so many packets in the mean, so much in all."""
    to_good = 1 / mean
    return Gilbert(to_bad=to_good * loss / (1 - loss), to_good=to_good)


def _plain(loss: float, burst: float | None) -> Network:
    def links(seed: int) -> Links:
        options = {"loss": loss} if burst is None else {"gilbert": bursts(loss, burst)}
        there, back = (
            Link(2 * seed + way, delay_s=PLAIN_RTT_S / 2, rate_bps=PLAIN_BPS, **options)  # type: ignore[arg-type]
            for way in range(2)
        )
        return there, back

    kind = "random" if burst is None else "bursty"
    return Network(f"{kind} {loss:.0%}" if loss else "no loss", loss, PLAIN_RTT_S, links)


def _profile(name: str, outages: Sequence[tuple[float, float]] = (), loss: float | None = None) -> Network:
    kind = PROFILES[name] if loss is None else replace(PROFILES[name], loss=loss)

    def links(seed: int) -> Links:
        there, back = (
            Link(2 * seed + way, loss=kind.loss, delay_s=kind.rtt_s / 2, rate_bps=rate, outages=outages)
            for way, rate in enumerate((kind.up_bps, kind.down_bps))
        )
        return there, back

    full = f"{name}, outages" if outages else name if loss is None else f"{name}, random {loss:.0%}"
    return Network(full, kind.loss, kind.rtt_s, links, outages)


def _with_outages(name: str) -> Network:
    return _profile(name, OUTAGES)


def narrowing(seed: int) -> Links:
    """5 Mbps, then 100 kbps for three seconds, then 5 Mbps again."""
    rates = [(0.0, BROAD_BPS), (NARROW_FROM_S, NARROW_BPS), (NARROW_UNTIL_S, BROAD_BPS), (1e6, BROAD_BPS)]
    there = Link(2 * seed, delay_s=PLAIN_RTT_S / 2, rates=rates, queue_bytes=QUEUE_BYTES)
    return there, Link(2 * seed + 1, delay_s=PLAIN_RTT_S / 2, rate_bps=BROAD_BPS)


def _scarce(rate_bps: float, seed: int) -> Links:
    there = Link(2 * seed, delay_s=PLAIN_RTT_S / 2, rate_bps=rate_bps, queue_bytes=QUEUE_BYTES)
    return there, Link(2 * seed + 1, delay_s=PLAIN_RTT_S / 2, rate_bps=rate_bps)


def _trace(path: Path) -> Network:
    stamps = read_mahimahi(path)

    def links(seed: int) -> Links:
        there = Link(2 * seed, delay_s=PLAIN_RTT_S / 2, trace_ms=stamps, queue_bytes=QUEUE_BYTES)
        return there, Link(2 * seed + 1, delay_s=PLAIN_RTT_S / 2, rate_bps=PLAIN_BPS)

    return Network(path.stem if path.suffix == ".txt" else path.name, 0.0, PLAIN_RTT_S, links)
