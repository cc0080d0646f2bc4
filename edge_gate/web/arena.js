// @ts-check
/** Where the maps of a network lie while it runs: each from the step that makes it to the last that reads it. */

const EDGE = 64; // every map begins at a multiple of it, and has as much to spare after it

/**
 * @typedef {object} Plane pixels of channels
 * @property {"bytes" | "floats"} kind
 * @property {number} rows
 * @property {number} cols
 * @property {number} channels
 * @property {number} at its address
 * @property {boolean} [inside] what matters is inside a frame, of which rows and cols are
 */

/**
 * A call of a kernel, or of several: rows that are made each by itself may be shared out.
 *
 * @typedef {object} Work
 * @property {string | (() => void)} does the kernel, or what is done without one
 * @property {Plane[]} reads
 * @property {Plane[]} makes
 * @property {(from: number, rows: number) => number[]} given what the kernel is given for some rows; once maps have addresses
 * @property {number} rows all that there are
 * @property {number} each what a row costs, about, in microseconds
 */

/** Bytes of a number. */
export const SIZES = { bytes: 1, floats: 4 };

/** @param {Plane} map */
export function bytesOf(map) {
  return map.rows * map.cols * map.channels * SIZES[map.kind];
}

/**
 * Give every map its address.
 *
 * @param {Work[]} works in order
 * @param {Plane[]} given maps that are there before the first
 * @param {Plane[]} kept maps that are read after the last
 * @param {number} base the first address that is free
 * @returns {number} the first address after all of them
 */
export function place(works, given, kept, base) {
  const last = new Map(given.map((map) => [map, 0]));
  works.forEach((work, index) => [...work.reads, ...work.makes].forEach((map) => last.set(map, index)));
  kept.forEach((map) => last.set(map, works.length));
  /** @type {[number, number][]} free stretches, from and to, in order */
  let free = [[Math.ceil(base / EDGE) * EDGE, Infinity]];
  let end = base;
  const settle = (/** @type {Plane} */ map) => {
    const size = (Math.ceil(bytesOf(map) / EDGE) + 1) * EDGE;
    const hole = free.filter(([from, to]) => to - from >= size).reduce((a, b) => (b[1] - b[0] < a[1] - a[0] ? b : a));
    map.at = hole[0];
    hole[0] += size;
    end = Math.max(end, hole[0]);
    return size;
  };
  const sizes = new Map(given.map((map) => [map, settle(map)]));
  works.forEach((work, index) => {
    for (const map of work.makes) if (!sizes.has(map)) sizes.set(map, settle(map));
    for (const [map, size] of [...sizes]) {
      if (/** @type {number} */ (last.get(map)) > index) continue;
      free.push([map.at, map.at + size]);
      sizes.delete(map);
    }
    free = joined(free);
  });
  return end;
}

/** @param {[number, number][]} stretches @returns {[number, number][]} */
function joined(stretches) {
  /** @type {[number, number][]} */
  const out = [];
  for (const stretch of stretches.filter(([from, to]) => to > from).sort((a, b) => a[0] - b[0])) {
    const before = out.at(-1);
    if (before && before[1] === stretch[0]) before[1] = stretch[1];
    else out.push(stretch);
  }
  return out;
}
