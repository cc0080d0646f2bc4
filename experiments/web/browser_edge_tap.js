// @ts-nocheck
// Put into a page before its own scripts: notes when each of the camera's frames was taken, and keeps its connections.
//
//   camera --clone--> MediaStreamTrackProcessor --> browserEdge.frames: stamp, arrival, brightness of the number's blocks
//   new RTCPeerConnection() ----------------------> browserEdge.peers
//   a worker's messages of a step ----------------> browserEdge.steps: when, and how long it worked
//   fetch("/picture...") -------------------------> not asked of the server: nobody looks

const BITS = 12;
const BLOCK = 16;

globalThis.browserEdge = { frames: [], peers: [], steps: [] };

/** The mean brightness of the middle of each block of both rows, from a frame's first plane. */
function blocks(luma, stride) {
  const out = [];
  for (let row = 0; row < 2; row++) {
    for (let col = 0; col < BITS; col++) {
      let sum = 0;
      for (let y = BLOCK / 4; y < BLOCK - BLOCK / 4; y++) {
        for (let x = BLOCK / 4; x < BLOCK - BLOCK / 4; x++) {
          sum += luma[(row * BLOCK + y) * stride + col * BLOCK + x];
        }
      }
      out.push(sum / (BLOCK / 2) ** 2);
    }
  }
  return out;
}

async function follow(track) {
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  const rect = { x: 0, y: 0, width: BITS * BLOCK, height: 2 * BLOCK };
  for (;;) {
    const { value: frame, done } = await reader.read();
    if (done) return;
    const arrived = performance.timeOrigin + performance.now();
    const data = new Uint8Array(frame.allocationSize({ rect }));
    const [luma] = await frame.copyTo(data, { rect });
    const timestamp = frame.timestamp;
    frame.close();
    const seen = { timestamp, arrived, blocks: blocks(data.subarray(luma.offset), luma.stride) };
    globalThis.browserEdge.frames.push(seen);
  }
}

if (navigator.mediaDevices) {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await open(wanted);
    for (const track of stream.getVideoTracks()) follow(track.clone());
    return stream;
  };
}

const Peer = globalThis.RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Peer {
  constructor(...args) {
    super(...args);
    globalThis.browserEdge.peers.push(this);
  }
};

const Plain = globalThis.Worker;
globalThis.Worker = class extends Plain {
  constructor(...args) {
    super(...args);
    this.addEventListener("message", ({ data }) => {
      if (data?.is !== "step" || !(data.workMs > 0)) return;
      const at = performance.timeOrigin + performance.now();
      globalThis.browserEdge.steps.push({ at, work_ms: data.workMs, looked: data.looked, passed: data.passed });
    });
  }
};

const ask = globalThis.fetch;
globalThis.fetch = async (where, ...more) => {
  if (typeof where === "string" && where.startsWith("/picture")) return new Response(null, { status: 304 });
  return ask(where, ...more);
};

/** What has crossed the page's newest connection: below SRTP or SCTP, and as payload or messages. */
globalThis.browserEdge.crossed = async () => {
  const total = { wire_bytes: 0, wire_packets: 0, payload_bytes: 0, frames: 0 };
  const peer = globalThis.browserEdge.peers.at(-1);
  for (const one of peer ? (await peer.getStats()).values() : []) {
    if (one.type === "transport") {
      total.wire_bytes += one.bytesSent + one.bytesReceived;
      total.wire_packets += one.packetsSent + one.packetsReceived;
    } else if (one.type === "outbound-rtp") {
      total.payload_bytes += one.bytesSent;
      total.frames += one.framesSent ?? 0;
    } else if (one.type === "data-channel") {
      total.payload_bytes += one.bytesSent + one.bytesReceived;
    }
  }
  return total;
};
