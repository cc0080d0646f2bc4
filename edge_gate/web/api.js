// @ts-check
/**
 * The server's HTTP, as vidtok/live/ answers it: streams, questions, conditions, pictures, the way in.
 *
 *     ask, tellMe --POST--> server-sent events --> values, one by one
 *     what is refused --> Refused, with a sentence of what to do
 */

import { connect } from "./rtc.js";

/** The server said no, or could not be reached (status 0). */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.name = "Refused";
    this.status = status;
  }
}

/**
 * One event of an answer: a word, or the end of it, or what went wrong half-way.
 *
 * @typedef {object} Told
 * @property {string} [word]
 * @property {string} [answer]
 * @property {number} [sure]
 * @property {[number, number, number, number][]} [looked] left, top, side in pixels of the frame; weight
 * @property {string} [condition]
 * @property {number} [capture_ms]
 * @property {string} [error]
 */

/** @typedef {{ name: string, source: string, width: number, height: number, fps: number }} StreamInfo */
/** @typedef {{ token: boolean, answers: boolean, ice: string[] }} About */

/** Where paths for sessions are asked for. */
const OFFER = "/offer";

/** The server that this page came from. */
export class Api {
  /** @type {string[] | null} */
  #ice = null;

  /** @param {string | null} token */
  constructor(token = null) {
    this.token = token;
  }

  /** @returns {Promise<About>} */
  async about() {
    return (await this.#call("/about")).json();
  }

  /** A path for a session's packets, by way of the STUN and TURN servers that the server was given. */
  async path() {
    this.#ice ??= await this.about().then(({ ice }) => ice, () => null); // if it is away, the offer says so
    return connect(OFFER, { token: this.token, iceServers: this.#ice ?? [] });
  }

  /** @returns {Promise<StreamInfo[]>} in order of their beginning */
  async streams() {
    return (await (await this.#call("/streams")).json()).streams;
  }

  /**
   * Trade what stands after # in an invitation for a token; it is kept for the calls that follow.
   *
   * @param {string} ticket
   */
  async comeIn(ticket) {
    const response = await this.#call("/session", { method: "POST", body: JSON.stringify({ ticket }) });
    this.token = (await response.json()).token;
  }

  /**
   * Ask about a stream; words as they come. Aborting interrupts the answer.
   *
   * @param {string} text
   * @param {string} stream
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<Told>}
   */
  async *ask(text, stream, signal) {
    yield* this.#events("/ask", { text, stream }, signal);
  }

  /**
   * Each time that the answer to a condition becomes yes, until aborted or the stream has ended.
   *
   * @param {string} text
   * @param {string} stream
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<Told>}
   */
  async *tellMe(text, stream, signal) {
    yield* this.#events("/tell-me", { text, stream }, signal);
  }

  /**
   * The canvas as the viewer draws it, if it has changed since `tag`.
   *
   * @param {string} stream
   * @param {string | null} tag
   * @returns {Promise<{ picture: Blob, tag: string } | null>}
   */
  async picture(stream, tag) {
    /** @type {Record<string, string>} */
    const headers = tag === null ? {} : { "If-None-Match": tag };
    const response = await this.#call(`/picture?stream=${encodeURIComponent(stream)}`, { headers, cache: "no-store" });
    const picture = await response.blob();
    return response.status === 304 ? null : { picture, tag: response.headers.get("ETag") ?? "" };
  }

  /** @param {string} path @param {RequestInit} [init] */
  async #call(path, init = {}) {
    const headers = { ...init.headers, ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new Refused(0, "The server cannot be reached: is it running?");
    }
    if (response.ok || response.status === 304) return response;
    throw new Refused(response.status, (await response.text()).slice(0, 200) || `HTTP ${response.status}`);
  }

  /** @param {string} path @param {object} body @param {AbortSignal} signal @returns {AsyncGenerator<Told>} */
  async *#events(path, body, signal) {
    const response = await this.#call(path, { method: "POST", body: JSON.stringify(body), signal });
    if (response.body === null) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const events = (text + value).split("\n\n");
        text = /** @type {string} */ (events.pop());
        for (const event of events) if (event.startsWith("data: ")) yield JSON.parse(event.slice(6));
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }
}
