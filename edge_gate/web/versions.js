// @ts-check
/**
 * The flight table and the outbox as one: what is given up in the table takes what builds on it out of the outbox. Twin
 * of what transport/sender.py does to both.
 */

import { FlightTable } from "./flight.js";
import { LANE_NAMES } from "./lanes.js";

/** @typedef {import("./core.js").Core} Core */
/** @typedef {import("./flight.js").Flight} Flight */
/** @typedef {import("./lanes.js").Item} Item */

/** Every version under way or waiting, and what becomes of it. */
export class Versions {
  #core;
  /** When packets left our outbox. @type {WeakMap<Uint8Array, { flight: Flight, at: number }>} */
  #left = new WeakMap();

  /** @param {Core} core */
  constructor(core) {
    this.#core = core;
    this.table = new FlightTable(core.config.history);
  }

  /** @returns {boolean} whether too much is under way without an answer; what is dead among it gives way first */
  blocked() {
    while (this.table.length >= this.#core.config.maxInFlight) {
      if (!this.table.dropOldestDead()) return true;
    }
    return false;
  }

  /**
   * A packet left the outbox; its version, where that has left whole with it.
   *
   * @param {Item} item
   * @param {number} now
   * @returns {Flight | null}
   */
  left({ data, version, spare }, now) {
    const flight = this.table.get(version ?? 0);
    if (flight === null || spare) return null;
    this.#left.set(data, { flight, at: now });
    flight.packets -= 1;
    if (flight.packets > 0) return null;
    flight.sentAt = now;
    return flight;
  }

  /**
   * A packet that left the outbox had to wait before it left this machine.
   *
   * @param {Uint8Array} data the very one
   * @param {number} waitedS
   */
  leftLate(data, waitedS) {
    const { flight, at } = this.#left.get(data) ?? {};
    if (flight?.sentAt != null) flight.sentAt = Math.max(flight.sentAt, /** @type {number} */ (at) + waitedS);
  }

  /**
   * Drop what waited too long, with everything built on it.
   *
   * @param {number} now
   */
  expire(now) {
    const expired = this.#core.outbox.expire(now);
    for (const { lane, version } of expired) {
      this.#core.drop(now, "past-deadline", { lane: LANE_NAMES[lane], version });
    }
    const versions = versionsOf(expired.filter((item) => !item.spare));
    if (versions.size) this.neverSent(versions, now);
  }

  /**
   * Give up versions that never left: what comes next builds on what did.
   *
   * @param {Set<number>} versions
   * @param {number} now
   */
  neverSent(versions, now) {
    const before = this.table.tip;
    const dead = this.table.withdraw(versions);
    const unsent = this.discard((version) => dead.has(version), "base-dropped", now);
    this.table.forget([...versions, ...unsent]);
    this.tellIfMoved(before, "not sent", now);
  }

  /**
   * Give versions up, and all that builds on them; what of that has not left never will.
   *
   * @param {Iterable<number>} versions
   * @param {number} now
   */
  giveUp(versions, now) {
    const dead = this.table.kill(versions);
    const unsent = this.discard((version) => dead.has(version), "base-dropped", now);
    const neverLeft = this.table.neverLeft();
    this.table.forget([...unsent].filter((version) => neverLeft.has(version)));
  }

  /**
   * Begin again from blank.
   *
   * @param {string} why
   * @param {number} now
   */
  restart(why, now) {
    this.discard(() => true, "restarted", now);
    this.table.restart();
    this.#core.trace.add(now, "restart", { why });
  }

  /**
   * Take versions out of the outbox, and say so.
   *
   * @param {(version: number) => boolean} unwanted
   * @param {string} reason
   * @param {number} now
   * @returns {Set<number>}
   */
  discard(unwanted, reason, now) {
    const unsent = this.#core.outbox.discard(unwanted);
    for (const { version } of unsent) this.#core.drop(now, reason, { version });
    return versionsOf(unsent);
  }

  /**
   * Tell the application where the tip is not where it was.
   *
   * @param {number} before
   * @param {string} why
   * @param {number} now
   */
  tellIfMoved(before, why, now) {
    const { tip } = this.table;
    if (tip === before) return;
    this.#core.trace.add(now, "base", { before, base: tip, why });
    this.#core.events.push({ type: "BaseLost", newBase: tip });
  }
}

/** @param {Item[]} items @returns {Set<number>} the versions that they carry */
function versionsOf(items) {
  return new Set(items.flatMap(({ version }) => (version === null ? [] : [version])));
}
