// @ts-check
/**
 * The edge off the main thread: encoder, gate, session. Frames and commands in, packets and steps out.
 *
 *     frame --> newest --> Sender.look, tell --> session --> Connection --by port.js--> page --> network
 *
 * The newest frame wins: what comes while another is looked at takes the place of what still waits.
 */

import { makeGrid, stateHash } from "./canvas.js";
import { Connection } from "./connection.js";
import { EdgeEncoder } from "./encoder.js";
import { Tables } from "./entropy.js";
import { PeerError } from "./errors.js";
import { Nets } from "./nets_port.js";
import { GateNetwork } from "./network.js";
import { connector } from "./port.js";
import { Sender } from "./sender.js";
import { Session } from "./session.js";

/** @typedef {{ kbps: number, tokensPerS: number }} Caps */

const [FIRST_RETRY_S, LAST_RETRY_S] = [0.25, 4];
const SESSION = Object.freeze({ resumeWithin: 30 }); // resumption as vidtok/live/link.py has it
const WIDEST = Object.freeze({ kbps: 10_000, tokensPerS: 100_000 }); // the caps in force are honoured within these

const clock = () => performance.now() / 1000;
const say = (/** @type {any} */ message) => postMessage(message);

/** @type {Edge | null} */
let edge = null;
/** The newest start, while the networks are loaded. @type {any} */
let waiting = {};
/** The sessions before have ended: they use the same networks. @type {Promise<unknown>} */
let ending = Promise.resolve();

/**
 * What every session runs on.
 *
 * @typedef {object} Parts
 * @property {EdgeEncoder} encoder
 * @property {GateNetwork} network
 * @property {Tables} tables
 * @property {Uint8Array} codecHash
 * @property {any} info
 */

self.onmessage = ({ data }) => {
  if (data.do === "start") void start(data);
  else if (data.do === "stop") stop();
  else if (data.do === "caps") edge === null ? (waiting.caps = data.caps) : edge.honour(data.caps);
  else if (edge !== null) edge.frame(data);
  else data.frame.close();
};

const parts = load();
parts.catch((error) => say({ is: "failed", why: error instanceof Error ? error.message : String(error) }));

/** @param {any} command */
async function start(command) {
  stop();
  waiting = command;
  const [made] = await Promise.all([parts.catch(() => null), ending]); // why there are none was told
  if (made !== null && waiting === command) edge = new Edge(command, made);
}

function stop() {
  waiting = {};
  ending = Promise.all([ending, edge?.close()]);
  edge = null;
}

/** @returns {Promise<Parts>} */
async function load() {
  const [encoder, gist, gate, tables, told, wake] = await Promise.all([
    bytes("encoder.onnx"), bytes("gist.onnx"), bytes("gate.onnx"), bytes("tables.bin"), json("tokenizer.json"),
    json("gate.json"),
  ]);
  const info = { sensitivity: told.sensitivity, gistSensitivity: told.gist_sensitivity };
  const read = new Tables(tables);
  const named = Uint8Array.of(...(await read.digest()), ...unhex(told.digest));
  const codecHash = new Uint8Array(await crypto.subtle.digest("SHA-256", named)).slice(0, 8);
  const nets = await Nets.open({ encoder, gist, gate });
  const made = {
    encoder: new EdgeEncoder(nets.network("encoder"), nets.network("gist")),
    network: new GateNetwork(nets.network("gate"), wake.wake),
    tables: read, info, codecHash,
  };
  const dots = nets.build === "relaxed" ? ", 8-bit dot products" : "";
  const threads = nets.threads > 1 ? `, ${nets.threads} threads` : "";
  say({ is: "loaded", provider: `WebAssembly, SIMD${dots}${threads}` });
  return made;
}

/** @param {string} name */
async function bytes(name) {
  const response = await fetch(new URL(`./weights/${name}`, import.meta.url));
  if (!response.ok) throw new Error(`the server does not give ${name} (${response.status}): reload the page`);
  return new Uint8Array(await response.arrayBuffer());
}

/** @param {string} name */
async function json(name) {
  return JSON.parse(new TextDecoder().decode(await bytes(name)));
}

/** Let packets, timers and commands have their turn: a network that runs in this thread keeps all waiting. */
function breath() {
  return new Promise((resolve) => setTimeout(resolve));
}

/** @param {string} hex */
function unhex(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** One session: from its greeting to its end. */
class Edge {
  #run;
  #caps;
  #parts;
  #grid;
  #meta;
  #sheet;
  #wallMs = Date.now();
  /** Both from the first path on. @type {Session} */
  #session;
  /** @type {Sender} */
  #sender;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {{ frame: ImageBitmap, atMs: number } | null} */
  #newest = null;
  #lastS = 0;
  #again = false;
  /** @type {Promise<void> | null} */
  #working = null;
  #welcome = false;
  #over = false;
  #passed = 0;

  /** @param {any} command @param {Parts} parts */
  constructor({ run, film, caps, paths }, parts) {
    this.#run = run;
    this.#caps = caps;
    this.#parts = parts;
    this.#grid = makeGrid(film.width, film.height);
    this.#sheet = new OffscreenCanvas(film.width, film.height);
    this.#meta = { width: film.width, height: film.height, fps: film.fps, source: film.name.slice(0, 80) };
    say({ is: "begun", run, meta: this.#meta, codecHash: parts.codecHash });
    void this.#connect(connector(paths));
  }

  /** @param {() => Promise<import("./port.js").PortEndpoint>} again */
  async #connect(again) {
    for (let waitS = FIRST_RETRY_S; !this.#over; waitS = Math.min(2 * waitS, LAST_RETRY_S)) {
      try {
        const endpoint = await again();
        return this.#over ? endpoint.close() : this.#begin(endpoint, again);
      } catch (error) {
        if (!(error instanceof PeerError)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * waitS));
      }
    }
  }

  /**
   * The session begins with its first path: how long it waits for a greeting counts from here.
   *
   * @param {import("./port.js").PortEndpoint} endpoint
   * @param {() => Promise<import("./port.js").PortEndpoint>} again
   */
  #begin(endpoint, again) {
    const { encoder, network, tables, info, codecHash } = this.#parts;
    const session = new Session({ codecHash, meta: this.#meta, config: SESSION, now: clock(), wallMs: this.#wallMs });
    const onEvent = (/** @type {any} */ event) => this.#event(event);
    this.#session = session;
    this.#sender = new Sender({ grid: this.#grid, session, encoder, info, tables, network, config: { caps: WIDEST } });
    this.honour(this.#caps);
    this.#connection = new Connection(session, endpoint, { clock, onEvent, again });
    this.#connection.start();
  }

  /** Say goodbye. */
  async close() {
    this.#over = true;
    this.#newest?.frame.close();
    this.#newest = null;
    await this.#work();
    await this.#connection?.close();
  }

  /** Keep to the user's caps and the receiver's, the lower of the two. @param {Caps} caps */
  honour(caps) {
    this.#caps = caps;
    if (this.#sender === undefined) return;
    const { kbps, tokensPerS } = this.#sender.wishes;
    this.#sender.ledger.honour(Math.min(kbps, caps.kbps), Math.min(tokensPerS, caps.tokensPerS));
  }

  /** @param {any} event */
  #event(event) {
    this.#sender.onEvent(event);
    if (event.type === "FeedbackReceived") {
      this.honour(this.#caps);
      const { interest, kbps, tokensPerS } = this.#sender.wishes;
      say({ is: "event", run: this.#run, event: { type: "Wished", interest, kbps, tokensPerS } });
      return;
    }
    if (event.type === "Acknowledged") return;
    if (event.type === "Connected") this.#welcome = true;
    if (event.type === "Closed" && !this.#over) void this.close();
    say({ is: "event", run: this.#run, event: { type: event.type, code: event.code, reason: event.reason } });
    if (event.type === "BaseLost") {
      this.#again = this.#sender.view !== null;
      void this.#work();
    }
  }

  /** @param {{ frame: ImageBitmap, atMs: number }} command */
  frame({ frame, atMs }) {
    if (this.#over) return frame.close();
    if (this.#newest !== null) {
      this.#newest.frame.close();
      this.#passed += 1;
    }
    this.#newest = { frame, atMs };
    void this.#work();
  }

  /** Look at what has come, unless that is being done; over when there is nothing more. */
  #work() {
    if (this.#welcome) this.#working ??= this.#lookAtAll().finally(() => (this.#working = null));
    return this.#working;
  }

  async #lookAtAll() {
    try {
      while (!this.#over && (this.#newest !== null || this.#again)) {
        if (this.#again) await this.#tellAgain();
        else await this.#look();
        await breath();
      }
    } catch (error) {
      this.#over = true;
      say({ is: "failed", why: error instanceof Error ? `${error.name}: ${error.message}` : String(error) });
    }
  }

  async #tellAgain() {
    this.#again = false;
    if (this.#session.state !== "open") return;
    const step = await this.#sender.again(clock());
    this.#connection?.flush();
    if (!this.#over) this.#report(step, 0, 0);
  }

  async #look() {
    const { frame, atMs } = /** @type {{ frame: ImageBitmap, atMs: number }} */ (this.#newest);
    this.#newest = null;
    const pixels = this.#pixels(frame);
    const timeS = (this.#lastS = Math.max(this.#lastS + 0.001, (atMs - this.#wallMs) / 1000));
    const began = performance.now();
    await this.#sender.look(pixels, timeS);
    await breath(); // what was acknowledged meanwhile counts
    if (this.#over) return;
    const step = await this.#sender.tell(timeS, clock());
    this.#connection?.flush();
    if (!this.#over) this.#report(step, performance.now() - began, Date.now() - atMs);
  }

  /** @param {ImageBitmap} frame */
  #pixels(frame) {
    const { width, height } = this.#grid;
    const to = /** @type {OffscreenCanvasRenderingContext2D} */ (this.#sheet.getContext("2d", { willReadFrequently: true }));
    to.drawImage(frame, 0, 0, width, height);
    frame.close();
    return { data: to.getImageData(0, 0, width, height).data, width, height, channels: 4 };
  }

  /** @param {import("./sender.js").Step} step @param {number} workMs @param {number} lateMs since it was filmed */
  #report(step, workMs, lateMs) {
    const { rows, cols, width, height } = this.#grid;
    const { bytesSent, bytesReceived, rtt } = this.#session;
    say({
      is: "step", run: this.#run, version: step.version, hash: stateHash(this.#sender.canvas),
      looked: step.looked, score: step.score, kind: step.kind, rows, cols, width, height,
      tokens: step.tokens, alarm: step.alarm, bytes: bytesSent + bytesReceived, passed: this.#passed,
      workMs, delayMs: step.payloadBytes > 0 && workMs > 0 ? lateMs + (1000 * (rtt ?? 0)) / 2 : null,
    });
  }
}
