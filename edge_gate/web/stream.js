// @ts-check
/**
 * One stream as the page has it: the worker that looks and tells, and the network path, which lives on this side.
 *
 *     frames --> worker.js --packets, by port.js--> Tapped --> RtcEndpoint --> server
 *                   |                                 |
 *                   +-- steps, events --> page        +-- tape: what was sent, for a recording
 *
 * Paths come and go; the session in the worker stays, and asks for another path where its own is lost.
 */

import { Lane } from "./lanes.js";
import { serve } from "./port.js";
import { Tape } from "./recording.js";
import { REFUSALS } from "./rtc.js";
import { pullPacket } from "./wire.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./endpoint.js").Endpoint} Endpoint */

const WELCOME = 2; // a packet's type, in the low half of its first byte

/**
 * What the page is told of a stream.
 *
 * @typedef {object} Heard
 * @property {(name: string) => void} named the server's name for it
 * @property {(why: string) => void} waiting there is no path; it is tried again; `why` goes on after "The server"
 * @property {(why: string) => void} refused there will be none
 * @property {(event: any) => void} event of the session
 * @property {(step: any) => void} step a frame was looked at
 * @property {(about: { provider: string }) => void} loaded
 * @property {(why: string) => void} failed the worker cannot work
 */

/** The worker, and at most one session at a time. */
export class Stream {
  /** What was sent of the newest session. @type {Tape | null} */
  tape = null;
  #api;
  #heard;
  #worker;
  #run = 0;
  /** @type {MessagePort | null} */
  #paths = null;
  #tapeFrom = 0;

  /** @param {Api} api @param {Heard} heard */
  constructor(api, heard) {
    this.#api = api;
    this.#heard = heard;
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#on(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      heard.failed(`${event.message || "its worker did not start"}: reload the page, or take a newer browser`);
    };
  }

  /**
   * Begin a session; its paths are made as it asks for them.
   *
   * @param {{ width: number, height: number, fps: number, name: string }} film
   * @param {{ kbps: number, tokensPerS: number }} caps
   */
  start(film, caps) {
    this.stop();
    const [run, { port1, port2 }] = [this.#run, new MessageChannel()];
    this.#paths = port1;
    serve(port1, () => this.#path(run));
    const { width, height, fps, name } = film;
    this.#worker.postMessage({ do: "start", run, film: { width, height, fps, name }, caps, paths: port2 }, [port2]);
  }

  /** End the session, and say so to the server. */
  stop() {
    this.#run++;
    this.#worker.postMessage({ do: "stop" });
    this.#paths?.close();
    this.#paths = null;
  }

  /** @param {ImageBitmap} frame handed over @param {number} atMs */
  frame(frame, atMs) {
    this.#worker.postMessage({ do: "frame", frame, atMs }, [frame]);
  }

  /** @param {{ kbps: number, tokensPerS: number }} caps */
  set caps(caps) {
    this.#worker.postMessage({ do: "caps", caps });
  }

  /** @param {any} told */
  #on(told) {
    if (told.is === "loaded") this.#heard.loaded(told);
    else if (told.is === "failed") this.#heard.failed(told.why);
    else if (told.run !== this.#run) return; // of a session that was stopped
    else if (told.is === "begun") {
      this.tape = new Tape(told.meta, told.codecHash);
      this.#tapeFrom = performance.now();
    } else if (told.is === "event") this.#heard.event(told.event);
    else if (told.is === "step") this.#heard.step(told);
  }

  /** @param {number} run @returns {Promise<Endpoint>} */
  async #path(run) {
    try {
      const endpoint = await this.#api.path();
      return new Tapped(endpoint, (lane, data) => this.#sends(run, lane, data), (data) => this.#welcomed(run, data));
    } catch (error) {
      const why = /** @type {Error} */ (error).message;
      if (run === this.#run) {
        if (why.endsWith(REFUSALS[401])) this.#heard.refused("The server asks for another token: open the link that it printed last.");
        else this.#heard.waiting(why.replace(/^\S+?(:?) /, "$1 ").trim());
      }
      throw error;
    }
  }

  /** @param {number} run @param {number} lane @param {Uint8Array} data */
  #sends(run, lane, data) {
    if (run === this.#run) this.tape?.write(performance.now() - this.#tapeFrom, lane, data);
  }

  /** @param {number} run @param {Uint8Array} data */
  #welcomed(run, data) {
    const name = run === this.#run ? nameIn(data) : null;
    if (name !== null) this.#heard.named(name);
  }
}

/**
 * An endpoint that is listened to.
 *
 * @implements {Endpoint}
 */
class Tapped {
  /** @type {((data: Uint8Array) => void) | null} */
  onpacket = null;
  #endpoint;
  #sends;

  /**
   * @param {Endpoint} endpoint
   * @param {(lane: number, data: Uint8Array) => void} sends
   * @param {(data: Uint8Array) => void} hears
   */
  constructor(endpoint, sends, hears) {
    this.#endpoint = endpoint;
    this.#sends = sends;
    endpoint.onpacket = (data) => {
      hears(data);
      this.onpacket?.(data);
    };
  }

  /** @param {((reason: string) => void) | null} told */
  set onclose(told) {
    this.#endpoint.onclose = told;
  }

  /** @param {(() => void) | null} told */
  set ondrain(told) {
    this.#endpoint.ondrain = told;
  }

  /** @param {number} lane @param {Uint8Array} data */
  send(lane, data) {
    this.#sends(lane, data);
    this.#endpoint.send(lane, data);
  }

  get bufferedAmount() {
    return this.#endpoint.bufferedAmount;
  }

  close() {
    this.#endpoint.close();
  }
}

/**
 * The server's name for a stream, where these bytes are a Welcome that tells it.
 *
 * @param {Uint8Array} data
 * @returns {string | null}
 */
function nameIn(data) {
  if ((data[0] & 15) !== WELCOME) return null;
  try {
    const name = /** @type {any} */ (pullPacket(data)).meta?.get?.("stream");
    return typeof name === "string" ? name : null;
  } catch {
    return null; // the session says what is wrong with it
  }
}

/**
 * Send a recording's packets to the server at their times, as they were sent before.
 *
 * @param {Api} api
 * @param {import("./recording.js").Record[]} records
 * @param {(name: string) => void} named
 * @param {AbortSignal} signal
 */
export async function replay(api, records, named, signal) {
  const endpoint = await api.path();
  endpoint.onpacket = (data) => {
    const name = nameIn(data);
    if (name !== null) named(name);
  };
  let lost = false;
  endpoint.onclose = () => (lost = true);
  const began = performance.now();
  try {
    for (const { timeMs, data } of records) {
      const wait = began + timeMs - performance.now();
      if (wait > 4) await new Promise((resolve) => setTimeout(resolve, wait));
      if (signal.aborted) return;
      if (lost) throw new Error("The connection was lost while the recording was played.");
      endpoint.send(Lane.CONTROL, data); // reliably and in order, whatever lane it was recorded on
    }
    while (endpoint.bufferedAmount > 0 && !lost) await new Promise((resolve) => setTimeout(resolve, 20));
  } finally {
    endpoint.close();
  }
}
