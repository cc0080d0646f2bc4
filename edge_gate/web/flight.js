// @ts-check
/**
 * The sender's table of versions that are under way: what may be used as a base, what is lost. Twin of
 * transport/flight.py.
 *
 *     acked --> v1 --> v2 --> v3 = tip          every version assumes that its base arrives
 *                      x                        v2 dies: v3 dies with it, tip falls back to acked
 *     acked --> v4 = tip                        and the next version chains from there
 *
 * A version is *alive* while it may still arrive and be applied as far as we know, *dead* once it or a base below it
 * was lost. Dead versions stay in the table until something newer is acknowledged: the receiver may have applied one
 * after all and say so.
 */

/** One version under way; `sentAt` is null until the last of its packets has left our own outbox. */
export class Flight {
  /** @type {number | null} */
  sentAt = null;
  alive = true;
  received = false;
  lost = false;
  answer = false;
  packets = 1; // that have not left

  /**
   * @param {number} version
   * @param {number} base
   * @param {number} size bytes, the parity's among them
   * @param {number | null} stateHash
   */
  constructor(version, base, size, stateHash) {
    this.version = version;
    this.base = base;
    this.size = size;
    this.stateHash = stateHash;
  }
}

/** Versions above the newest acknowledged one, oldest first, bounded by the session. */
export class FlightTable {
  newest = 0;
  acked = 0;
  /** @type {number | null} */
  ackedHash = null;
  tip = 0;
  #floor = 0;
  #history;
  /** @type {Map<number, Flight>} */
  #flights = new Map();
  /** @type {number[]} the newest last, `history` of them at most */
  #recent = [];

  /** @param {number} history */
  constructor(history) {
    this.#history = history;
  }

  /** How many versions stand in the table. */
  get length() {
    return this.#flights.size;
  }

  /**
   * The flight of a version, if it is in the table.
   *
   * @param {number} version
   * @returns {Flight | null}
   */
  get(version) {
    return this.#flights.get(version) ?? null;
  }

  /**
   * Whether the receiver will, as far as we know, hold `base` when the next version arrives.
   *
   * @param {number} base
   * @returns {boolean}
   */
  usable(base) {
    if (base === 0) return true;
    const flight = this.get(base);
    if (flight !== null) return flight.alive;
    return this.#recent.includes(base) && (base === this.acked || this.newest + 1 - base < this.#history);
  }

  /**
   * Allot the next version.
   *
   * @param {number} base
   * @param {number} size
   * @param {number | null} stateHash
   * @returns {Flight}
   */
  open(base, size, stateHash) {
    this.newest += 1;
    const flight = new Flight(this.newest, base, size, stateHash);
    this.#flights.set(flight.version, flight);
    this.tip = flight.version;
    return flight;
  }

  /** @returns {number | null} the state hash at the tip, where the application gave one */
  tipHash() {
    const flight = this.get(this.tip);
    if (flight !== null) return flight.stateHash;
    return this.tip === this.acked ? this.ackedHash : null;
  }

  /** @returns {number} every version below this can never be a base again */
  oldestNeeded() {
    if (this.acked) return this.acked;
    return this.#flights.keys().next().value ?? this.newest + 1;
  }

  /** @returns {Set<number>} the versions that can still become a base, blank aside */
  needed() {
    const needed = new Set(this.#flights.keys());
    if (this.acked) needed.add(this.acked);
    return needed;
  }

  /**
   * Kill versions that never left: the tip steps back to what did leave below them.
   *
   * @param {Iterable<number>} versions
   * @returns {Set<number>}
   */
  withdraw(versions) {
    let place = this.tip;
    const dead = this.kill(versions);
    while (dead.has(place) && this.#flights.has(place)) place = this.get(place)?.base ?? 0;
    if (this.#flights.has(place)) this.tip = place; // else it is acknowledged or older: kill() chose the newest such
    return dead;
  }

  /**
   * Mark versions and all that build on them dead; the tip falls back if it was one of them.
   *
   * @param {Iterable<number>} versions
   * @returns {Set<number>} all that are dead now
   */
  kill(versions) {
    const dead = new Set(versions);
    for (const flight of this.#flights.values()) {
      if (!dead.has(flight.version) && !dead.has(flight.base)) continue;
      dead.add(flight.version);
      flight.alive = false;
    }
    if (dead.has(this.tip)) this.tip = this.acked;
    return dead;
  }

  /** @returns {boolean} whether room was made: the oldest dead version, if there is one, is forgotten */
  dropOldestDead() {
    for (const flight of this.#flights.values()) {
      if (!flight.alive) return this.#flights.delete(flight.version);
    }
    return false;
  }

  /**
   * Take versions out that never left, or that the receiver cannot have applied.
   *
   * @param {Iterable<number>} versions
   */
  forget(versions) {
    for (const version of versions) this.#flights.delete(version);
  }

  /**
   * Whether an acknowledgement of `version` can be used: it stands in the table or is history.
   *
   * @param {number} version
   * @returns {boolean}
   */
  knows(version) {
    return version <= this.acked || version < this.#floor || this.#flights.has(version);
  }

  /**
   * The receiver says that it applied `version`, which we know; true when that is news.
   *
   * @param {number} version
   * @returns {boolean}
   */
  applied(version) {
    if (version <= this.acked || version < this.#floor) return false;
    this.acked = version;
    this.ackedHash = this.get(version)?.stateHash ?? null;
    this.#recent.push(version);
    if (this.#recent.length > this.#history) this.#recent.shift();
    this.forget([...this.#flights.keys()].filter((each) => each <= version));
    if (!this.get(this.tip)?.alive) this.tip = version;
    return true;
  }

  /**
   * Flights that this acknowledgement is the first to call received.
   *
   * @param {number} newest
   * @param {number} bitmap
   * @returns {Flight[]}
   */
  markReceived(newest, bitmap) {
    const fresh = this.#all((flight) => !flight.received && arrived(newest - flight.version, bitmap));
    for (const flight of fresh) flight.received = true;
    return fresh;
  }

  /**
   * Flights that so many newer arrivals have overtaken, each told once.
   *
   * @param {number} newest
   * @param {number} threshold
   * @returns {Flight[]}
   */
  markLost(newest, threshold) {
    const overdue = (/** @type {Flight} */ flight) =>
      newest - flight.version >= threshold && flight.sentAt !== null && !flight.received && !flight.lost;
    const fresh = this.#all(overdue);
    for (const flight of fresh) flight.lost = true;
    return fresh;
  }

  /** @returns {Flight[]} those that left, are alive and have not been reported as received, oldest first */
  waiting() {
    return this.#all((flight) => flight.alive && flight.sentAt !== null && !flight.received);
  }

  /** @returns {number} bytes that left and are neither received nor lost nor given up */
  underWay() {
    return this.waiting().reduce((size, flight) => size + flight.size, 0);
  }

  /** @returns {Set<number>} versions of which nothing has left */
  neverLeft() {
    return new Set(this.#all((flight) => flight.sentAt === null).map((flight) => flight.version));
  }

  /**
   * The receiver answered a probe at `upto` without having applied anything new: the dead are gone.
   *
   * @param {number} upto
   */
  resolve(upto) {
    this.forget(this.#all((flight) => !flight.alive && flight.version <= upto).map((flight) => flight.version));
  }

  /** Begin again from blank; what was sent before no longer counts. */
  restart() {
    this.#floor = this.newest + 1;
    this.acked = this.tip = 0;
    this.ackedHash = null;
    this.#flights.clear();
    this.#recent = [];
  }

  /**
   * @param {(flight: Flight) => boolean} wanted
   * @returns {Flight[]}
   */
  #all(wanted) {
    return [...this.#flights.values()].filter(wanted);
  }
}

/**
 * @param {number} behind the newest that arrived
 * @param {number} bitmap of those before it
 */
function arrived(behind, bitmap) {
  return behind === 0 || (behind >= 1 && behind <= 32 && ((bitmap >>> (behind - 1)) & 1) === 1);
}
