// @ts-check
/**
 * How two ends meet: what the sender says of itself, whom it refuses, and when it greets again. Twin of
 * transport/greeting.py.
 */

import { LocalProtocolError } from "./errors.js";
import { CloseCode, Feature, MAX_CODEC_HASH, SESSION_ID_BYTES, pushPacket } from "./wire.js";

/** @typedef {import("./fields.js").Values} Values */
/** @typedef {import("./wire.js").Greeting} Greeting */

const HELLO_AT_LEAST = 0.5; // seconds between two, however long nobody answers
const DOUBLINGS = 64; // of the time between two

const ALL_FEATURES = Feature.PARTS | Feature.PARITY | Feature.CLOCK | Feature.RESUME;

/** The sender's side of the handshake; the session says when, and moves its state. */
export class Greeter {
  agreed = 0;
  hellos = 0; // since greeting began
  /** @type {number | null} when the next is due */
  helloAt = null;
  #codecHash;
  #meta;
  #wallMs;
  #features;

  /**
   * @param {Uint8Array | null} sessionId 16 random bytes, by default
   * @param {Uint8Array} codecHash
   * @param {Values} meta
   * @param {number | bigint} wallMs
   * @param {boolean} resumes
   */
  constructor(sessionId, codecHash, meta, wallMs, resumes) {
    if (sessionId !== null && sessionId.length !== SESSION_ID_BYTES) {
      throw new LocalProtocolError(`session id must be ${SESSION_ID_BYTES} bytes, not ${sessionId.length}`);
    }
    if (codecHash.length > MAX_CODEC_HASH) {
      throw new LocalProtocolError(`codec hash is longer than ${MAX_CODEC_HASH} bytes`);
    }
    this.sessionId = sessionId ?? crypto.getRandomValues(new Uint8Array(SESSION_ID_BYTES));
    this.#codecHash = codecHash;
    this.#meta = meta instanceof Map ? new Map(meta) : { ...meta };
    this.#wallMs = wallMs;
    this.#features = resumes ? ALL_FEATURES : ALL_FEATURES & ~Feature.RESUME;
    pushPacket(this.hello(false));
  }

  /**
   * A greeting of ours.
   *
   * @param {boolean} resumed
   * @returns {Greeting}
   */
  hello(resumed) {
    return {
      type: "Hello",
      sessionId: this.sessionId,
      role: "sender",
      codecHash: this.#codecHash,
      meta: this.#meta,
      wallMs: this.#wallMs,
      features: this.#features,
      resumed,
    };
  }

  /**
   * Whether it is of another session than ours.
   *
   * @param {Greeting} greeting
   * @returns {boolean}
   */
  foreign(greeting) {
    return hex(greeting.sessionId) !== hex(this.sessionId);
  }

  /**
   * Why we cannot talk to each other, if so.
   *
   * @param {Greeting} greeting
   * @returns {[number, string] | null}
   */
  refusal(greeting) {
    if (greeting.role === "sender") return [CloseCode.PROTOCOL_ERROR, "both ends are senders"];
    const [ours, theirs] = [hex(this.#codecHash), hex(greeting.codecHash)];
    if (ours === theirs) return null;
    const met = `codec ${theirs.slice(0, 16)} met codec ${ours.slice(0, 16)}`;
    return [CloseCode.CODEC_MISMATCH, `${met}: use the same weights on both ends`];
  }

  /**
   * Take the peer in: what both can do is used.
   *
   * @param {Greeting} greeting
   */
  meet({ features = 0 }) {
    this.agreed = this.#features & features;
    this.stop();
  }

  /**
   * Greet from now on.
   *
   * @param {number} now
   */
  start(now) {
    this.helloAt = now;
    this.hellos = 0;
  }

  /** Greet no more. */
  stop() {
    this.helloAt = null;
  }

  /**
   * Whether a Hello is to leave now; the next comes later and later.
   *
   * @param {number} now
   * @param {number} interval
   * @returns {boolean}
   */
  due(now, interval) {
    if (this.helloAt === null || now < this.helloAt) return false;
    this.helloAt = now + Math.min(interval * 2 ** Math.min(this.hellos, DOUBLINGS), HELLO_AT_LEAST);
    this.hellos += 1;
    return true;
  }
}

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
