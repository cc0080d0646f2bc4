// @ts-check
/**
 * A floor under staleness: no cell in sight stays as it was told for longer than so many seconds. Twin of
 * edge_gate/floor.py.
 *
 *     versions as they are sent, with their times --+
 *     version of each cell's last edit in the base --+--> ages --overdue--> cells to tell anew now
 *
 * The ages are those of the base canvas, which the receiver is known (or fairly assumed) to hold: what a lost packet
 * carried was not told. What was told at one time, a whole first picture, falls due spread out evenly.
 */

const LEAD_S = 0.5; // so long before its time a cell is due: it is not asked at every moment
const KEPT = 4; // times the floor: what was told longer ago is as old as can be

/** Remembers when versions were sent; says which cells are due. Without a floor (0) it does neither. */
export class Floor {
  /** @type {Map<number, number>} */
  #sentS = new Map();

  /** @param {number} refreshS */
  constructor(refreshS) {
    this.refreshS = refreshS;
  }

  /**
   * The versions from `first` to before `end` have left.
   *
   * @param {number} first
   * @param {number} end
   * @param {number} timeS
   */
  sent(first, end, timeS) {
    if (this.refreshS <= 0) return;
    for (let version = first; version < end; version++) this.#sentS.set(version, timeS);
    const oldest = timeS - KEPT * this.refreshS;
    for (const [version, at] of this.#sentS) if (at < oldest && version !== 0) this.#sentS.delete(version);
  }

  /**
   * The cells to tell anew now, as ones among zeros, `most` at most; null without a floor.
   *
   * @param {Uint32Array} changed the version of each cell's last edit
   * @param {Uint8Array} inSight
   * @param {number} timeS
   * @param {number} most
   * @returns {Uint8Array | null}
   */
  due(changed, inSight, timeS, most) {
    if (this.refreshS <= 0) return null;
    if (!this.#sentS.has(0)) this.#sentS.set(0, timeS);
    const ageS = Float64Array.from(changed, (version) => timeS - (this.#sentS.get(version) ?? -Infinity));
    return overdue(ageS, inSight, Math.max(this.refreshS - LEAD_S, this.refreshS / 2), most);
  }
}

/**
 * The oldest cells, as many as an even pace is behind.
 *
 * At that pace all cells in sight are told within `withinS`, one after the other. The n-th oldest makes it late by as
 * much as it would be told after its time, were the telling to begin now.
 *
 * @param {Float64Array} ageS
 * @param {Uint8Array} inSight
 * @param {number} withinS
 * @param {number} most
 * @returns {Uint8Array}
 */
export function overdue(ageS, inSight, withinS, most) {
  const out = new Uint8Array(inSight.length);
  const cells = Array.from(inSight.keys()).filter((cell) => inSight[cell]);
  cells.sort((one, other) => (ageS[one] === ageS[other] ? one - other : ageS[one] > ageS[other] ? -1 : 1));
  let late = 0;
  for (let place = 0; place < cells.length; place++) {
    const leftS = Math.max(withinS - ageS[cells[place]], 0);
    late = Math.max(late, place + 1 - (leftS * cells.length) / withinS);
  }
  const count = Math.min(Math.floor(late + 1e-6), most);
  for (let place = 0; place < count; place++) out[cells[place]] = 1;
  return out;
}
