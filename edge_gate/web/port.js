// @ts-check
/**
 * Endpoints for another thread: the page's main thread has the RTCPeerConnection, a worker has the session.
 *
 *     main thread                                                    worker
 *     serve(port, () => rtc.connect(...)) <--- one MessagePort ---> connector(port) --> again() --> PortEndpoint
 *     lend(endpoint, channel)             <--- one an endpoint ---> packets, how much is buffered, the end
 *
 * Neither thread hears anything while it is busy, and what a packet waits for one of them is not the network's: each has
 * the time at which it came to the main thread, and is told when it left there.
 */

import { ConnectionClosed, PeerError } from "./errors.js";
import { CloseCode } from "./wire.js";

/** @typedef {import("./endpoint.js").Endpoint} Endpoint */

/** By one clock for all threads, in milliseconds. */
const clock = () => performance.timeOrigin + performance.now();

/**
 * Main thread: connect as often as the other side of `port` asks for it.
 *
 * @param {MessagePort} port
 * @param {() => Promise<Endpoint>} connect
 */
export function serve(port, connect) {
  port.onmessage = async ({ data: number }) => {
    try {
      const endpoint = await connect();
      const channel = new MessageChannel();
      lend(endpoint, channel.port1);
      port.postMessage({ number, endpoint: channel.port2 }, [channel.port2]);
    } catch (error) {
      const { name, message } = /** @type {Error} */ (error);
      port.postMessage({ number, refused: name === "PeerError", message });
    }
  };
}

/**
 * Worker: what connects anew whenever it is called, as `Connection` wants it; rejects with the other side's PeerError.
 *
 * @param {MessagePort} port whose other side is served
 * @returns {() => Promise<PortEndpoint>}
 */
export function connector(port) {
  /** @type {Map<number, {resolve: (endpoint: PortEndpoint) => void, reject: (error: Error) => void}>} */
  const asked = new Map();
  let count = 0;
  port.onmessage = ({ data: { number, endpoint, refused, message } }) => {
    const { resolve, reject } = /** @type {any} */ (asked.get(number));
    asked.delete(number);
    if (endpoint) resolve(new PortEndpoint(endpoint));
    else reject(refused ? new PeerError(message) : new Error(message));
  };
  return () =>
    new Promise((resolve, reject) => {
      asked.set(++count, { resolve, reject });
      port.postMessage(count);
    });
}

/**
 * Main thread: let the other side of `port` use an endpoint.
 *
 * @param {Endpoint} endpoint
 * @param {MessagePort} port
 */
export function lend(endpoint, port) {
  let taken = 0;
  /** @param {number} [leftMs] when a packet left */
  const tell = (leftMs) => port.postMessage({ taken, buffered: endpoint.bufferedAmount, leftMs });
  endpoint.onpacket = (packet) => port.postMessage({ packet, cameMs: clock() });
  endpoint.onclose = (closed) => port.postMessage({ closed });
  endpoint.ondrain = () => tell();
  port.onmessage = ({ data: { lane, packet } }) => {
    if (packet === undefined) {
      endpoint.close();
      port.close();
      return;
    }
    taken += packet.length;
    const leftMs = clock();
    try {
      endpoint.send(lane, packet);
    } catch (error) {
      if (!(error instanceof ConnectionClosed)) throw error; // else the other side is told by onclose
    }
    tell(leftMs);
  };
}

/**
 * Worker: an endpoint that lies in the main thread.
 *
 * @implements {Endpoint}
 */
export class PortEndpoint {
  /** @type {((data: Uint8Array, waitedS?: number) => void) | null} */
  onpacket = null;
  /** @type {((reason: string) => void) | null} */
  onclose = null;
  /** @type {(() => void) | null} */
  ondrain = null;
  /** @type {((data: Uint8Array, waitedS: number) => void) | null} */
  onleft = null;
  #port;
  #sent = 0;
  #taken = 0;
  #buffered = 0;
  /** @type {{ data: Uint8Array, handedMs: number }[]} packets on their way to the main thread, in their order */
  #handed = [];
  /** @type {ConnectionClosed | null} */
  #ended = null;

  /** @param {MessagePort} port whose other side was lent an endpoint */
  constructor(port) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#hear(data);
  }

  /**
   * @param {{packet?: Uint8Array, cameMs?: number, closed?: string, taken?: number, buffered?: number, leftMs?: number}} told
   */
  #hear({ packet, cameMs = 0, closed, taken, buffered, leftMs }) {
    if (packet !== undefined) this.onpacket?.(packet, Math.max(0, clock() - cameMs) / 1000);
    else if (closed !== undefined) this.#end(closed);
    else {
      this.#taken = /** @type {number} */ (taken);
      this.#buffered = /** @type {number} */ (buffered);
      const left = leftMs === undefined ? undefined : this.#handed.shift();
      if (left !== undefined) this.onleft?.(left.data, Math.max(0, /** @type {number} */ (leftMs) - left.handedMs) / 1000);
      if (this.bufferedAmount === 0) this.ondrain?.();
    }
  }

  /** @param {string} reason */
  #end(reason) {
    if (this.#ended !== null) return;
    this.#ended = new ConnectionClosed(CloseCode.LINK_LOST, reason);
    this.onclose?.(reason);
  }

  /**
   * Hand a packet over.
   *
   * @param {number} lane
   * @param {Uint8Array} data
   */
  send(lane, data) {
    if (this.#ended !== null) throw this.#ended;
    this.#sent += data.length;
    this.#handed.push({ data, handedMs: clock() });
    this.#port.postMessage({ lane, packet: data });
  }

  /** Bytes that the stack has not sent yet, and those on their way to the main thread. */
  get bufferedAmount() {
    return this.#ended === null ? this.#buffered + this.#sent - this.#taken : 0;
  }

  /** Give the path up. */
  close() {
    if (this.#ended === null) this.#port.postMessage({});
    this.#end("closed by us");
    this.#port.close();
  }
}
