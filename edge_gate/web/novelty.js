// @ts-check
/**
 * The gate: what in this frame is news to the receiver? Twin of edge_gate/novelty.py, whose first look is glance.js.
 *
 *     latents seen now, canvas's values as latents --novelty--> a score per cell, 0 to 1
 *                                               --losses--> what every edit would spare the model
 *
 * Numbers of cells lie in one Float32Array, cell after cell, and are computed in float32 as numpy does; only the
 * exponential may differ in its last bit. A cell of `depth` levels holds what is before EDGES[depth]; no depth at all
 * says that everything is held. Our camera stands still: grids that move over the scene are Python's only.
 */

import { CHANNELS, EDGES, LEVELS, MIDDLES } from "./levels.js";
import { byLevel, pairwise } from "./sums.js";

const { fround, max, min } = Math;

/**
 * The gate's settings; distances are weighted mean squares of latents that span -1 to 1.
 *
 * @typedef {object} GateConfig
 * @property {number} floor what rounding to values and a noisy sensor cost: no news at all
 * @property {number} scale how fast the score rises above the floor
 * @property {number} noise squared difference of a latent that a noisy sensor explains
 * @property {number} calm score under which a cell counts as quiet
 * @property {number} jump from one look to the next, beyond which a cell is not averaged but taken as it is
 * @property {number} gistJump the same for the gist, which noise moves less
 * @property {number} blend share of the newest look in the average of what has not jumped
 * @property {number} glance brightness levels that a thumbnail pixel must change by to wake the tokenizer
 * @property {number} lookEveryS the tokenizer looks this long after the glance woke it, whatever the glance says
 * @property {number} lookAtLeastS then after twice as long each time, up to this
 * @property {number} coverage share of a cell that must be in the frame
 */

/** @type {Readonly<GateConfig>} */
export const GATE = Object.freeze({
  floor: 0.05,
  scale: 0.1,
  noise: 0.03,
  calm: 0.15,
  jump: 0.1,
  gistJump: 0.01,
  blend: 0.35,
  glance: 3,
  lookEveryS: 1,
  lookAtLeastS: 16,
  coverage: 0.25,
});

/** One cell's numbers, while they are added up. */
let line = new Float32Array(512);

/** @param {number} size */
function lineOf(size) {
  if (line.length < size) line = new Float32Array(size);
  return line;
}

/**
 * Scores from 0 to 1: how new each cell is to whoever holds the canvas. Cells of which nothing is known score one.
 *
 * @param {Float32Array} latents seen now
 * @param {Float32Array} held the canvas's
 * @param {Uint8Array | null} depth
 * @param {Float32Array} weights how much each latent counts
 * @param {GateConfig} config
 * @returns {Float32Array}
 */
export function novelty(latents, held, depth, weights, config) {
  const size = weights.length;
  const score = new Float32Array(latents.length / size);
  const floor = fround(config.floor);
  const scale = fround(config.scale);
  const totals = EDGES.map((edge) => shareOf(weights, edge));
  for (let cell = 0; cell < score.length; cell++) {
    const levels = depth === null ? LEVELS : depth[cell];
    if (levels === 0) {
      score[cell] = 1;
      continue;
    }
    const distance = fround(squares(latents, held, weights, cell * size, EDGES[levels]) / totals[levels]);
    const above = fround(max(fround(distance - floor), 0) / scale);
    score[cell] = above === 0 ? 0 : 1 - fround(Math.exp(-above));
  }
  return score;
}

/**
 * @param {Float32Array} weights
 * @param {number} end of what is known
 * @returns {number} what its weights add up to
 */
function shareOf(weights, end) {
  const known = weights.slice().fill(0, end);
  return max(pairwise(known, 0, known.length), fround(1e-6));
}

/**
 * @param {Float32Array} seen
 * @param {Float32Array} held
 * @param {Float32Array} weights
 * @param {number} at where the cell's numbers begin
 * @param {number} end of what of them is known
 * @returns {number} the weighted sum of squared differences
 */
function squares(seen, held, weights, at, end) {
  const size = weights.length;
  const terms = lineOf(size);
  for (let place = 0; place < end; place++) {
    const difference = fround(seen[at + place] - held[at + place]);
    terms[place] = fround(difference * difference) * weights[place];
  }
  if (end < size) terms.fill(0, end, size);
  return pairwise(terms, 0, size);
}

/**
 * How far the model's knowledge of each cell is from what is seen: squared distances, `levels` numbers a cell; a level
 * that is not held reads as zeros. Cells out of sight count as known.
 *
 * @typedef {object} Losses
 * @property {number} levels
 * @property {Float32Array} missed as the canvas stands; all numbers count alike, the others below by their weights
 * @property {Float32Array} now the same, but what noise explains does not count
 * @property {Float32Array} blank were the level not held
 * @property {Float32Array} told were it told now
 */

/** One cell's numbers of each kind of loss. */
const terms = [0, 1, 2, 3].map(() => new Float32Array(CHANNELS));

/**
 * Weigh what is seen against what the canvas holds.
 *
 * @param {Float32Array} latents
 * @param {Uint8Array} values what would be told
 * @param {{ values: Uint8Array, depth: Uint8Array }} base
 * @param {Float32Array} shown the share of each cell that is in sight
 * @param {Float32Array} weights
 * @param {number} noise a squared difference of that much from what is held is none
 * @returns {Losses}
 */
export function losses(latents, values, base, shown, weights, noise) {
  const count = shown.length * LEVELS;
  const [missed, now, blank, told] = terms.map(() => new Float32Array(count));
  const explained = fround(noise);
  for (let cell = 0; cell < shown.length; cell++) {
    if (shown[cell] === 0) continue;
    const depth = base.depth[cell];
    weighCell(latents, values, base.values, cell * CHANNELS, EDGES[depth], weights, explained);
    const to = cell * LEVELS;
    byLevel(terms[0], EDGES, missed, to);
    byLevel(terms[1], EDGES, now, to);
    byLevel(terms[2], EDGES, blank, to);
    byLevel(terms[3], EDGES, told, to);
    for (let level = to; level < to + LEVELS; level++) if (told[level] > blank[level]) told[level] = blank[level];
  }
  return { levels: LEVELS, missed, now, blank, told };
}

/**
 * Fill `terms` with one cell's numbers.
 *
 * @param {Float32Array} latents
 * @param {Uint8Array} values
 * @param {Uint8Array} held
 * @param {number} at where the cell's numbers begin
 * @param {number} known so many are held
 * @param {Float32Array} weights
 * @param {number} explained
 */
function weighCell(latents, values, held, at, known, weights, explained) {
  const [missed, now, blank, told] = terms;
  for (let place = 0; place < CHANNELS; place++) {
    const weight = weights[place];
    const seen = latents[at + place];
    const all = fround(fround(seen * seen) * weight);
    const off = fround(seen - MIDDLES[values[at + place]]);
    blank[place] = all;
    told[place] = fround(off * off) * weight;
    if (place < known) {
      const difference = fround(seen - MIDDLES[held[at + place]]);
      const squared = fround(difference * difference);
      missed[place] = squared;
      now[place] = squared > explained ? fround(squared - explained) * weight : 0;
    } else {
      missed[place] = seen * seen;
      now[place] = all;
    }
  }
}

/**
 * What is spared by setting a cell afresh to 1, 2, ... levels.
 *
 * @param {Losses} losses
 * @returns {Float32Array}
 */
export function setGain({ levels, now, blank, told }) {
  const gain = new Float32Array(now.length);
  for (let at = 0; at < gain.length; at += levels) {
    const [all, held] = [pairwise(blank, at, levels), pairwise(now, at, levels)];
    let spared = 0;
    for (let place = at; place < at + levels; place++) {
      spared = fround(spared + fround(blank[place] - told[place]));
      gain[place] = held - fround(all - spared);
    }
  }
  return gain;
}

/**
 * What is spared by refining a cell from its `depth` levels to 1, 2, ... levels.
 *
 * @param {Losses} losses
 * @param {Uint8Array} depth
 * @returns {Float32Array}
 */
export function refineGain({ levels, blank, told }, depth) {
  const gain = new Float32Array(blank.length);
  for (let cell = 0; cell < depth.length; cell++) {
    let spared = 0;
    for (let level = depth[cell]; level < levels; level++) {
      const place = cell * levels + level;
      spared = fround(spared + fround(blank[place] - told[place]));
      gain[place] = spared;
    }
  }
  return gain;
}

/**
 * What telling each number of the gist anew takes away of its squared distance.
 *
 * @param {Float32Array} latents
 * @param {Float32Array} rounded
 * @param {Float32Array} held
 * @param {number} known so many numbers are held
 * @param {number} noise
 * @returns {Float32Array}
 */
export function renewal(latents, rounded, held, known, noise) {
  const gain = new Float32Array(latents.length);
  const explained = fround(noise);
  for (let place = 0; place < gain.length; place++) {
    const seen = latents[place];
    const missing = fround(seen - (place < known ? held[place] : 0));
    const squared = fround(missing * missing);
    const off = fround(seen - rounded[place]);
    gain[place] = (place < known ? max(fround(squared - explained), 0) : squared) - fround(off * off);
  }
  return gain;
}

/**
 * Latents averaged over looks where nothing happens, so that noise is not sent; taken anew where something does.
 *
 * @param {Float32Array | null} before what this returned last time
 * @param {Float32Array} latents of cells, or of a gist
 * @param {Float32Array} weights
 * @param {number} jump
 * @param {number} blend
 * @returns {Float32Array}
 */
export function steady(before, latents, weights, jump, blend) {
  if (before === null) return latents;
  const size = weights.length;
  const total = shareOf(weights, size);
  const out = new Float32Array(latents.length);
  const [limit, share] = [fround(jump), fround(blend)];
  for (let at = 0; at < out.length; at += size) {
    const calm = fround(squares(latents, before, weights, at, size) / total) < limit;
    for (let place = at; place < at + size; place++) {
      const old = before[place];
      out[place] = calm ? old + fround(share * fround(latents[place] - old)) : latents[place];
    }
  }
  return out;
}

/**
 * The share of each cell that a frame shows, whose corner is the grid's.
 *
 * @param {{ width: number, height: number, rows: number, cols: number }} grid
 * @param {number} cell
 * @returns {Float32Array}
 */
export function coverage({ width, height, rows, cols }, cell) {
  const share = (/** @type {number} */ side, /** @type {number} */ place) =>
    max(min((place + 1) * cell, side) - place * cell, 0) / cell;
  const place = (/** @type {number} */ at) => share(height, Math.floor(at / cols)) * share(width, at % cols);
  return Float32Array.from({ length: rows * cols }, (_, at) => place(at));
}

/** How long each cell has shown nothing new: what refinement waits for. */
export class QuietState {
  /** @param {Float64Array} since when each cell was restless last */
  constructor(since) {
    this.since = since;
  }

  /**
   * Everything restless at `now`.
   *
   * @param {number} cells
   * @param {number} now
   */
  static start(cells, now) {
    return new QuietState(new Float64Array(cells).fill(now));
  }

  /**
   * The state after a look: cells above `calm` start waiting anew.
   *
   * @param {Float32Array} score
   * @param {number} now
   * @param {GateConfig} config
   */
  watched(score, now, config) {
    const calm = fround(config.calm);
    return new QuietState(this.since.map((since, cell) => (score[cell] > calm ? now : since)));
  }

  /**
   * Seconds of quiet of each cell.
   *
   * @param {number} now
   */
  quietS(now) {
    return Float32Array.from(this.since, (since) => now - since);
  }
}
