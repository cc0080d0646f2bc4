"""The sending ends of `latency`, and what they say of a run: our edge over a data channel, and a video track.

    Camera --Edge--> data channel -------------> Sent: when each frame came into being, what it cost
           --VideoTrack--> VP8 or H.264, RTP --> Sent

What crosses the transport is counted from the opened connection to its end, alike for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import aiohttp
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame

from edge_gate.source import Frame
from experiments.latency_camera import Camera
from experiments.systems import Clip
from transport.adapters.endpoint import Endpoint
from transport.adapters.webrtc import connect
from transport.errors import PeerError
from transport.lanes import Lane
from vidtok.live.edge import Edge
from vidtok.live.sender import Step

GRACE_S = 0.5  # for the last packets
CLOCK_RATE = 90_000


@dataclass
class Wire:
    """What has crossed a transport in both directions, as aiortc counts it below SRTP or SCTP and DTLS."""

    transport: Any
    bytes: int = 0
    packets: int = 0

    def __post_init__(self) -> None:
        self._start = self._now()

    def stop(self) -> None:
        """Count from the beginning up to now."""
        (sent, packets), (sent_before, packets_before) = self._now(), self._start
        self.bytes, self.packets = sent - sent_before, packets - packets_before

    def _now(self) -> tuple[int, int]:
        # Public getStats() leaves a connection without media out; the transport's own report is the same.
        (stats,) = self.transport._get_stats().values()
        return stats.bytesSent + stats.bytesReceived, stats.packetsSent + stats.packetsReceived


@dataclass
class Sent:
    """One run as the sending side saw it."""

    glass_ns: Mapping[int, int]
    capture_ms: Mapping[int, int] = field(default_factory=dict)  # ours: frame -> what its packets say
    bytes: int = 0
    wire_bytes: int = 0
    wire_packets: int = 0


class Watched:
    """An endpoint whose wire is counted until it closes."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint: Endpoint = endpoint
        self.wire = Wire(endpoint.peer_connection.sctp.transport)

    def send(self, lane: Lane, data: bytes) -> None:
        """Send."""
        self._endpoint.send(lane, data)

    async def receive(self) -> bytes:
        """The next packet from the other end."""
        return await self._endpoint.receive()

    @property
    def buffered_amount(self) -> int:
        """Bytes that wait in the endpoint."""
        return self._endpoint.buffered_amount

    async def close(self) -> None:
        """Let the last packets through, count, close."""
        await asyncio.sleep(GRACE_S)
        self.wire.stop()
        await self._endpoint.close()


async def send_ours(url: str, clip: Clip) -> Sent:
    """Film a clip through our edge."""
    camera = Camera(clip)
    edge = Edge(camera)
    capture_ms: dict[int, int] = {}

    def on_step(frame: Frame, time_s: float, step: Step) -> None:
        capture_ms[frame.index] = round(time_s * 1000)

    watched = Watched(await connect(url + "/offer"))
    await edge.run(watched, on_step)
    return Sent(camera.glass_ns, capture_ms, edge.tally.bytes, watched.wire.bytes, watched.wire.packets)


class VideoTrack(MediaStreamTrack):
    """The camera as a track; frames are taken in a thread, exactly as `vidtok.live.edge` takes them."""

    kind = "video"

    def __init__(self, camera: Camera) -> None:
        super().__init__()
        self.over = asyncio.Event()
        self._frames, self._fps = iter(camera), camera.fps

    async def recv(self) -> VideoFrame:
        """The next frame, at its time."""
        frame = await asyncio.to_thread(next, self._frames, None)
        if frame is None:
            self.over.set()
            await asyncio.Event().wait()  # the connection is closed from outside once all has arrived
            raise MediaStreamError
        picture = VideoFrame.from_ndarray(frame.pixels, format="rgb24")
        picture.pts, picture.time_base = round(frame.index * CLOCK_RATE / self._fps), Fraction(1, CLOCK_RATE)
        return picture


async def send_video(url: str, clip: Clip, mime: str, marker: bool) -> Sent:
    """Film a clip through a video track; `marker` has the receiver hand frames on at their last packets."""
    camera = Camera(clip)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connected = _connected(peer)
    try:
        track = VideoTrack(camera)
        sender = peer.addTrack(track)
        codecs = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType in (mime, "video/rtx")]
        peer.getTransceivers()[0].setCodecPreferences(codecs)
        await peer.setLocalDescription(await peer.createOffer())
        answer = await ask(url + "/video", peer.localDescription.sdp, marker=str(int(marker)))
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await connected.wait()
        wire = Wire(sender.transport)
        await track.over.wait()
        await asyncio.sleep(GRACE_S)
        wire.stop()
        payload = next(s for s in (await sender.getStats()).values() if s.type == "outbound-rtp")
        return Sent(camera.glass_ns, bytes=payload.bytesSent, wire_bytes=wire.bytes, wire_packets=wire.packets)
    finally:
        await peer.close()


def _connected(peer: RTCPeerConnection) -> asyncio.Event:
    connected = asyncio.Event()

    def on_state() -> None:
        if peer.connectionState == "connected":
            connected.set()

    peer.on("connectionstatechange", on_state)
    return connected


async def ask(url: str, body: str | None = None, **query: str) -> str:
    """What the receiving process answers to a GET, or to a POST where there is a body. Raises PeerError."""
    async with aiohttp.ClientSession() as http:
        call = http.get(url, params=query) if body is None else http.post(url, data=body, params=query)
        async with call as response:
            text = await response.text()
            if response.status >= 400:
                raise PeerError(f"{url} answered {response.status}: {text[:200]}")
            return text
