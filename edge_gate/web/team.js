// @ts-check
/**
 * Threads that run networks together: this one, which has the plans, and helpers (nets_helper.js).
 *
 *     Network --join, plan, run--> Team --words: which share is next--> helpers, each with a stack of its own
 *
 * A helper that never starts, or is late, costs nothing but its help.
 */

import { begin, take, words } from "./shares.js";

/** @typedef {import("./shares.js").Share} Share */

const [MOST_THREADS, STACK, MOST_PAGES] = [4, 524288, 8192]; // the Makefile has the two last as well
const START_MS = 3000;

/** A helper took a share and does not get done with it: the network's memory is not to be trusted any more. */
export class Lost extends Error {}

/** How many threads networks should have here: half of the cores, and both of two; the camera and the page need some. */
export function threadsHere() {
  const cores = globalThis.crossOriginIsolated ? (navigator.hardwareConcurrency ?? 1) : 1;
  return Math.min(cores, Math.max(2, Math.min(MOST_THREADS, cores >> 1)));
}

/** This thread, and its helpers. Not for a page's own thread, which may not wait. */
export class Team {
  /** @type {Worker[]} */ #helpers = [];
  #words = words();
  #turn = 0;
  #joined = 0;

  /**
   * @param {WebAssembly.Module} kernels that share their memory
   * @param {number} threads those that do not start are not among them
   * @returns {Promise<Team>}
   */
  static async open(kernels, threads) {
    const team = new Team();
    const started = await Promise.all(Array.from({ length: threads - 1 }, () => helper(kernels, team.#words)));
    team.#helpers = started.filter((each) => each !== null);
    return team;
  }

  get threads() {
    return 1 + this.#helpers.length;
  }

  /** Memory that all can have. @param {number} pages to begin with */
  memory(pages) {
    return new WebAssembly.Memory({ initial: pages, maximum: MOST_PAGES, shared: true });
  }

  /**
   * Another network.
   *
   * @param {WebAssembly.Memory} memory
   * @param {(bytes: number) => number} keep gives room in it that stays
   * @returns {number} its number
   */
  join(memory, keep) {
    const network = this.#joined++;
    for (const each of this.#helpers) each.postMessage({ network, memory, stack: keep(STACK) + STACK });
    return network;
  }

  /** What is run of a network from now on. @param {number} network @param {readonly Share[]} shares */
  plan(network, shares) {
    const plain = shares.map((share) => (typeof share.does === "string" ? share : { ...share, does: null }));
    for (const each of this.#helpers) each.postMessage({ network, shares: plain });
  }

  /** @param {number} network @param {readonly Share[]} shares as planned @param {(share: Share) => void} act */
  run(network, shares, act) {
    if (shares.every(({ after, until }) => until === after + 1)) return shares.forEach(act); // nobody could help
    const turn = (this.#turn = begin(this.#words, this.#turn));
    for (const each of this.#helpers) each.postMessage({ network, turn });
    if (!take(this.#words, turn, shares, act, true)) throw new Lost("a thread of the networks is lost");
  }

  close() {
    for (const each of this.#helpers) each.terminate();
    this.#helpers = [];
  }
}

/**
 * @param {WebAssembly.Module} kernels
 * @param {Int32Array} at the words
 * @returns {Promise<Worker | null>} null if it does not start
 */
function helper(kernels, at) {
  return new Promise((resolve) => {
    const thread = new Worker(new URL("./nets_helper.js", import.meta.url), { type: "module" });
    const late = setTimeout(() => end(null), START_MS);
    const end = (/** @type {Worker | null} */ started) => {
      clearTimeout(late);
      if (started === null) thread.terminate();
      resolve(started);
    };
    thread.onmessage = () => end(thread);
    thread.onerror = () => end(null);
    thread.postMessage({ kernels, words: at });
  });
}
