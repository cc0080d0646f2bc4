// @ts-check
/**
 * The offering end of WebRTC, one HTTP exchange apart from the server's. Twin of transport/adapters/webrtc.py and
 * webrtc_endpoint.py, for a page's main thread: workers have no RTCPeerConnection.
 *
 *     control, anchor lanes --> channel 0 "control": reliable, ordered
 *     delta lane            --> channel 1 "delta": unordered, never retransmitted
 *
 * Both channels are negotiated by number, so nothing is announced in band. What the stack has not sent yet is watched:
 * a delta that would wait behind others is dropped here instead, for the next one replaces it.
 */

import { maySend } from "./backlog.js";
import { ConnectionClosed, LocalProtocolError, PeerError } from "./errors.js";
import { MAX_PACKET } from "./fields.js";
import { LANE_NAMES, Lane } from "./lanes.js";
import { Trace } from "./trace.js";
import { CloseCode } from "./wire.js";

/** @typedef {import("./endpoint.js").Endpoint} Endpoint */

const DEFAULT_PATH = "/offer";
const SDP = "application/sdp";
const MAX_BODY = 64 * 1024;
const GATHERED_WITHIN_MS = 2000; // an ICE server that does not answer holds up nobody

/** What the side that connects says when it reads these numbers. */
export const REFUSALS = Object.freeze({
  401: "refused the token: check --token on both ends",
  404: "has no such path: is it a vidtok server?",
  403: "refused this host name: use localhost, or start it with a token",
  429: "gets too many offers: wait a second and try again",
  503: "is full: wait until a session ends, or raise its limit",
});

const ICE_SERVER = /^(?<scheme>stuns?|turns?):(?:(?<user>[^:@]+):(?<password>[^@]+)@)?(?<rest>[^@/\s]+)$/;
const HOW = "write stun:host:port or turn:user:password@host:port?transport=udp, with %40 for an @ in a password";

/**
 * Offer a session to the listener at `url`; a PeerError says what to do when that fails.
 *
 * @param {string} url of the page's own server also a path: "/offer"
 * @param {object} [options]
 * @param {string | null} [options.token]
 * @param {number} [options.timeoutS]
 * @param {readonly string[]} [options.iceServers] as `stun:host:port` or `turn:user:password@host:port`
 * @returns {Promise<RtcEndpoint>}
 */
export async function connect(url, { token = null, timeoutS = 15, iceServers = [] } = {}) {
  const address = offerAddress(url);
  const endpoint = new RtcEndpoint(iceServers);
  const timeout = AbortSignal.timeout(timeoutS * 1000);
  const late = new Promise((_, reject) => timeout.addEventListener("abort", () => reject(timeout.reason)));
  try {
    await Promise.race([late, offer(endpoint, address, token, timeout).then(() => endpoint.opened())]);
  } catch (error) {
    endpoint.close();
    const through = "is UDP let through between you?";
    if (timeout.aborted) throw new PeerError(`${address} did not connect within ${timeoutS} s: ${through}`);
    if (error instanceof ConnectionClosed) throw new PeerError(`${address}: ${error.reason}: ${through}`);
    throw error;
  }
  return endpoint;
}

/**
 * Where an offer goes.
 *
 * @param {string} url
 * @param {string} [page] to which it is relative
 * @returns {string}
 */
export function offerAddress(url, page = globalThis.location?.href) {
  const named = url.replace(/^webrtc:/i, "http:");
  if (!URL.canParse(named, page)) throw new LocalProtocolError(`${url} is no address: write https://host:port`);
  const address = new URL(named, page);
  if (!address.pathname.replaceAll("/", "")) address.pathname = DEFAULT_PATH;
  return address.href;
}

/**
 * A STUN or TURN server as RTCPeerConnection wants it; a LocalProtocolError, without the password, if it is malformed.
 *
 * @param {string} text
 * @returns {{urls: string, username?: string, credential?: string}}
 */
export function iceServer(text) {
  const { scheme, user, password, rest } = ICE_SERVER.exec(text)?.groups ?? {};
  if (!scheme || scheme.startsWith("turn") !== (user !== undefined)) {
    throw new LocalProtocolError(`an ICE server is malformed or lacks its credentials: ${HOW}`);
  }
  const urls = `${scheme}:${rest}`;
  return user === undefined ? { urls } : { urls, username: unquoted(user), credential: unquoted(password) };
}

/** @param {string} text */
function unquoted(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new LocalProtocolError(`an ICE server's name or password has a % that stands for nothing: ${HOW}`);
  }
}

/** @param {RtcEndpoint} endpoint @param {string} address @param {string | null} token @param {AbortSignal} signal */
async function offer({ peer }, address, token, signal) {
  await peer.setLocalDescription();
  await gathered(peer);
  const headers = { "Content-Type": SDP, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const body = peer.localDescription?.sdp;
  const request = { method: "POST", headers, body, redirect: /** @type {const} */ ("manual"), signal };
  const response = await fetch(address, request).catch((error) => {
    throw new PeerError(`${address} cannot be reached (${error.message}): is the server running?`);
  });
  const answer = await text(response, address);
  if (response.status !== 201) {
    const refusal = REFUSALS[/** @type {keyof REFUSALS} */ (response.status)];
    throw new PeerError(`${address} ${refusal ?? `answered ${response.status}: ${answer.slice(0, 200).trim()}`}`);
  }
  await peer.setRemoteDescription({ type: "answer", sdp: answer }).catch((error) => {
    throw new PeerError(`${address} answered with no usable description (${error.name})`);
  });
}

/**
 * Wait until the description names the ways to reach us: there is no other exchange to name them in.
 *
 * @param {RTCPeerConnection} peer
 */
async function gathered(peer) {
  await new Promise((resolve) => {
    const look = () => peer.iceGatheringState === "complete" && resolve(undefined);
    peer.addEventListener("icegatheringstatechange", look);
    setTimeout(resolve, GATHERED_WITHIN_MS);
    look();
  });
}

/** @param {Response} response @param {string} address @returns {Promise<string>} the whole answer, up to a limit */
async function text(response, address) {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  let [answer, size] = ["", 0];
  for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
    size += piece.value.length;
    if (size > MAX_BODY) throw new PeerError(`${address} answered with more than ${MAX_BODY} bytes`);
    answer += decoder.decode(piece.value, { stream: true });
  }
  return answer + decoder.decode();
}

/**
 * One end of a peer connection, which `connect` makes.
 *
 * @implements {Endpoint}
 */
export class RtcEndpoint {
  /** @type {((data: Uint8Array) => void) | null} */
  onpacket = null;
  /** @type {((reason: string) => void) | null} */
  onclose = null;
  /** @type {(() => void) | null} */
  ondrain = null;
  trace = new Trace(256);
  /** @type {ConnectionClosed | null} */
  #ended = null;
  /** @type {() => void} */
  #settle = () => {};
  #settled = new Promise((resolve) => (this.#settle = () => resolve(undefined)));

  /** @param {readonly string[]} iceServers */
  constructor(iceServers) {
    if (!globalThis.RTCPeerConnection) throw new LocalProtocolError("no WebRTC here: connect on a page's main thread");
    this.peer = new RTCPeerConnection({ iceServers: iceServers.map(iceServer) });
    this.control = this.#channel("control", { negotiated: true, id: 0 });
    this.delta = this.#channel("delta", { ordered: false, maxRetransmits: 0, negotiated: true, id: 1 });
    this.peer.addEventListener("connectionstatechange", () => {
      const state = this.peer.connectionState;
      if (state === "failed" || state === "closed") this.#end(`the peer connection ${state}`);
    });
  }

  /** @param {string} name @param {RTCDataChannelInit} settings */
  #channel(name, settings) {
    const channel = this.peer.createDataChannel(name, settings);
    channel.binaryType = "arraybuffer";
    channel.onopen = () => this.control.readyState === "open" && this.delta.readyState === "open" && this.#settle();
    channel.onmessage = ({ data }) => this.#take(data);
    channel.onclose = () => this.#end("the data channel was closed");
    channel.onbufferedamountlow = () => this.bufferedAmount === 0 && this.ondrain?.();
    return channel;
  }

  /** Wait until both channels are open; ConnectionClosed when that fails. */
  async opened() {
    await this.#settled;
    if (this.#ended !== null) throw this.#ended;
  }

  /** @param {ArrayBuffer | string} data */
  #take(data) {
    if (typeof data === "string") this.trace.drop(performance.now() / 1000, "text-message", { size: data.length });
    else this.onpacket?.(new Uint8Array(data.slice(0, MAX_PACKET + 1))); // one byte too many: the session will name it
  }

  /** @param {string} reason */
  #end(reason) {
    if (this.#ended !== null) return;
    this.#ended = new ConnectionClosed(CloseCode.LINK_LOST, reason);
    this.#settle();
    this.onclose?.(reason);
  }

  /**
   * Send on the lane's channel; a delta is dropped when the stack is already behind.
   *
   * @param {number} lane
   * @param {Uint8Array} data
   */
  send(lane, data) {
    if (this.#ended !== null) throw this.#ended;
    const channel = lane === Lane.DELTA ? this.delta : this.control;
    const now = performance.now() / 1000;
    let wanted;
    try {
      wanted = maySend(lane, data, channel.bufferedAmount, this.trace, now);
    } catch (error) {
      if (error instanceof ConnectionClosed) this.#end(error.reason);
      throw error;
    }
    if (channel.readyState !== "open") this.trace.drop(now, "channel-not-open", { lane: LANE_NAMES[lane] });
    else if (wanted) channel.send(/** @type {any} */ (data));
  }

  /** Bytes that the stack has not sent yet. */
  get bufferedAmount() {
    return this.control.bufferedAmount + this.delta.bufferedAmount;
  }

  /** Close the peer connection. */
  close() {
    this.#end("closed by us");
    this.peer.close();
  }
}
