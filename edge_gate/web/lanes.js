// @ts-check
/**
 * Lanes and the outbox: control before anchor before delta, and nothing waits past its deadline. Twin of
 * transport/lanes.py.
 *
 *     push --> [control] -+
 *     push --> [anchor ] -+- pop(): first lane that has something; what is too late is dropped
 *     push --> [delta  ] -+
 *
 * Every lane is bounded. A full lane refuses the newcomer: what is queued before it may be its base.
 */

/**
 * How a packet wants to travel; lower goes first. CONTROL and ANCHOR want a reliable, ordered path. DELTA may be lost
 * or overtaken: deltas, and also acknowledgements and heartbeats, which are worth nothing late.
 */
export const Lane = Object.freeze({ CONTROL: 0, ANCHOR: 1, DELTA: 2 });

/** The names of the lanes, by number. */
export const LANE_NAMES = Object.freeze(["control", "anchor", "delta"]);

/** All lanes, the first to go first. */
export const ALL_LANES = Object.freeze([Lane.CONTROL, Lane.ANCHOR, Lane.DELTA]);

/**
 * One packet that waits: `version` is set for deltas, `deadline` is in seconds of the caller's clock. What is `spare`
 * may be lost: its version is whole without it.
 *
 * @typedef {object} Item
 * @property {number} lane
 * @property {Uint8Array} data
 * @property {number} deadline
 * @property {number | null} version
 * @property {boolean} spare
 */

/** Bounded queues, one a lane. */
export class Outbox {
  #limit;
  /** @type {Item[][]} */
  #lanes = [[], [], []];

  /** @param {number} limit packets of a lane */
  constructor(limit) {
    this.#limit = limit;
  }

  /** How many packets wait. */
  get length() {
    return this.#lanes.reduce((count, queue) => count + queue.length, 0);
  }

  /**
   * @param {...number} lanes all of them by default
   * @returns {number} bytes that wait there
   */
  queuedBytes(...lanes) {
    return this.#all(lanes.length ? lanes : ALL_LANES).reduce((size, item) => size + item.data.length, 0);
  }

  /**
   * @param {...number} lanes
   * @returns {number} packets that the fullest of them still takes
   */
  room(...lanes) {
    return Math.min(...lanes.map((lane) => this.#limit - this.#lanes[lane].length));
  }

  /** @returns {boolean} whether anything waits that the application handed over */
  hasDeltas() {
    return this.#all(ALL_LANES).some((item) => item.version !== null);
  }

  /**
   * Queue an item; false, and nothing queued, when its lane is full.
   *
   * @param {Item} item
   * @returns {boolean}
   */
  push(item) {
    const queue = this.#lanes[item.lane];
    if (queue.length >= this.#limit) return false;
    queue.push(item);
    return true;
  }

  /**
   * Take out and return everything whose deadline has passed.
   *
   * @param {number} now
   * @returns {Item[]}
   */
  expire(now) {
    return this.#take((item) => item.deadline <= now);
  }

  /**
   * Take out and return the deltas whose version is unwanted.
   *
   * @param {(version: number) => boolean} unwanted
   * @returns {Item[]}
   */
  discard(unwanted) {
    return this.#take((item) => item.version !== null && unwanted(item.version));
  }

  /**
   * Forget what waits on one lane.
   *
   * @param {number} lane
   */
  clear(lane) {
    this.#lanes[lane] = [];
  }

  /**
   * The next item of the first of `lanes` that has one.
   *
   * @param {readonly number[]} lanes
   * @returns {Item | null}
   */
  pop(lanes) {
    const lane = lanes.find((each) => this.#lanes[each].length > 0);
    return lane === undefined ? null : (this.#lanes[lane].shift() ?? null);
  }

  /** @returns {number | null} the earliest deadline of all that waits */
  nextDeadline() {
    const deadlines = this.#all(ALL_LANES).map((item) => item.deadline);
    return deadlines.length ? Math.min(...deadlines) : null;
  }

  /** @param {readonly number[]} lanes */
  #all(lanes) {
    return lanes.flatMap((lane) => this.#lanes[lane]);
  }

  /** @param {(item: Item) => boolean} unwanted */
  #take(unwanted) {
    const taken = this.#all(ALL_LANES).filter(unwanted);
    if (taken.length) this.#lanes = this.#lanes.map((queue) => queue.filter((item) => !taken.includes(item)));
    return taken;
  }
}
