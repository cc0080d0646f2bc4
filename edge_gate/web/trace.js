// @ts-check
/**
 * A structured record of what a session did and why: a bounded ring. Twin of transport/trace.py.
 *
 * Every drop is `drop` with a named `reason`. Where Python's record is rounded for its readers, this one is not.
 */

/** @typedef {{time: number, name: string, data: Record<string, any>}} TraceEvent one thing that happened */

/** Keeps the last `limit` events and counts all of them. */
export class Trace {
  /** @type {TraceEvent[]} */
  #ring = [];
  #next = 0;
  /** @type {Map<string, number>} */
  #counts = new Map();
  #limit;

  /** @param {number} [limit] */
  constructor(limit = 4096) {
    this.#limit = limit;
  }

  /**
   * Record one event.
   *
   * @param {number} time seconds of the caller's clock
   * @param {string} name
   * @param {Record<string, any>} [data]
   */
  add(time, name, data = {}) {
    this.#ring[this.#next] = { time, name, data };
    this.#next = (this.#next + 1) % this.#limit;
    this.#count(name);
  }

  /**
   * Record that something was dropped, and count it under its reason.
   *
   * @param {number} time
   * @param {string} reason
   * @param {Record<string, any>} [data]
   */
  drop(time, reason, data = {}) {
    this.#count(`drop:${reason}`);
    this.add(time, "drop", { reason, ...data });
  }

  /** @param {string} name */
  #count(name) {
    this.#counts.set(name, this.count(name) + 1);
  }

  /**
   * The events still in the ring, oldest first; only those called `name` if given.
   *
   * @param {string} [name]
   * @returns {TraceEvent[]}
   */
  events(name) {
    const all = [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
    return name === undefined ? all : all.filter((event) => event.name === name);
  }

  /**
   * How many events called `name` there ever were.
   *
   * @param {string} name
   * @returns {number}
   */
  count(name) {
    return this.#counts.get(name) ?? 0;
  }

  /** @returns {Record<string, number>} every drop reason seen, with its count */
  drops() {
    const dropped = [...this.#counts].filter(([name]) => name.startsWith("drop:"));
    return Object.fromEntries(dropped.map(([name, count]) => [name.slice(5), count]));
  }
}
