// @ts-check
/**
 * Figures of the stream: the plots, and what it and its alternatives have cost so far.
 */

import { CELL } from "./canvas.js";
import { readable } from "./costs.js";
import { Plot } from "./plots.js";

/** @typedef {import("./costs.js").Cost} Cost */

const WINDOW_MS = 1000;
const PACE_MS = 3000;

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Counts of the last moments, by their time. */
class Window {
  /** @type {[number, number][]} */
  #entries = [];
  #spanMs;

  /** @param {number} spanMs */
  constructor(spanMs) {
    this.#spanMs = spanMs;
  }

  /** @param {number} count */
  add(count) {
    this.#entries.push([performance.now(), count]);
  }

  get sum() {
    const since = performance.now() - this.#spanMs;
    while (this.#entries.length && this.#entries[0][0] < since) this.#entries.shift();
    return this.#entries.reduce((sum, [, count]) => sum + count, 0);
  }
}

/** What is counted of one stream, and where it is shown. */
export class Figures {
  #kbps = new Plot($("plots"), { name: "Bitrate", unit: "kbps", title: "All bytes of both directions in the last second", digits: 1, least: 4 });
  #tokens = new Plot($("plots"), { name: "Tokens", unit: "a second", title: "Model tokens sent in the last second", least: 10 });
  #novelty = new Plot($("plots"), { name: "Novelty", unit: "%", title: "How much of the picture is news to the model", digits: 0, least: 20 });
  #delay = new Plot($("plots"), { name: "Delay", unit: "ms", title: "From the camera to the server: work in this tab, and half the round trip", least: 50 });
  #bytes = new Window(WINDOW_MS);
  #told = new Window(WINDOW_MS);
  #filmed = new Window(PACE_MS);
  #looked = new Window(PACE_MS);
  #bytesTotal = 0;
  #tokensTotal = 0;
  #newest = 0;

  /** @param {import("./controls.js").Caps} caps */
  set caps({ kbps, tokensPerS }) {
    this.#kbps.limit = kbps;
    this.#tokens.limit = tokensPerS;
  }

  /** Begin anew. */
  begin() {
    this.#bytesTotal = this.#tokensTotal = 0;
    for (const plot of [this.#kbps, this.#tokens, this.#novelty, this.#delay]) plot.clear();
  }

  /** A frame was filmed. */
  filmed() {
    this.#filmed.add(1);
  }

  /** Frames a second that were filmed, and that were looked at. */
  get pace() {
    return { wanted: (this.#filmed.sum * 1000) / PACE_MS, looked: (this.#looked.sum * 1000) / PACE_MS };
  }

  /** @param {any} step */
  step(step) {
    if (step.bytes < this.#newest) this.#newest = 0; // another session
    this.#bytes.add(step.bytes - this.#newest);
    this.#bytesTotal += step.bytes - this.#newest;
    this.#newest = step.bytes;
    this.#told.add(step.tokens);
    this.#tokensTotal += step.tokens;
    if (step.workMs > 0) this.#looked.add(1);
    this.#novelty.push((100 * step.score.reduce((/** @type {number} */ sum, /** @type {number} */ each) => sum + each, 0)) / cellsIn(step));
    if (step.delayMs !== null) this.#delay.push(step.delayMs);
  }

  /** @param {Cost} cost of the same otherwise */
  show(cost) {
    this.#kbps.push((this.#bytes.sum * 8) / WINDOW_MS);
    this.#tokens.push(this.#told.sum);
    $("ours-bytes").textContent = readable(this.#bytesTotal);
    $("ours-tokens").textContent = this.#tokensTotal.toLocaleString("en");
    $("jpeg-bytes").textContent = times(cost.jpegBytes, this.#bytesTotal);
    $("jpeg-tokens").textContent = cost.jpegTokens.toLocaleString("en");
    $("h264-bytes").textContent = times(cost.h264Bytes, this.#bytesTotal);
    $("h264-tokens").textContent = cost.h264Tokens.toLocaleString("en");
    $("h264-note").textContent = cost.h264Note;
  }
}

/** @param {{ width: number, height: number }} frame */
function cellsIn({ width, height }) {
  return Math.ceil(width / CELL) * Math.ceil(height / CELL);
}

/** @param {number} bytes @param {number} ours */
function times(bytes, ours) {
  const ratio = bytes / ours;
  return ours > 0 && ratio > 1.5 ? `${readable(bytes)} (${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)}×)` : readable(bytes);
}
