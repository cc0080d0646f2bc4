// @ts-check
/**
 * The gate: what in this frame is news to the receiver? Twin of edge_gate/novelty.py, whose first look is glance.js.
 *
 *     latents seen now, canvas's values as latents --novelty--> a score per cell, 0 to 1
 *                                               --losses--> what every edit would spare the model
 *
 * Numbers of cells lie in one Float32Array, cell after cell, and are computed in float32 as numpy does; only the
 * exponential may differ in its last bit. A cell of `depth` levels holds what is before edges[depth]; no depth at all
 * says that everything is held. Our camera stands still: grids that move over the scene are Python's only.
 */

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
 * @param {readonly number[]} edges
 * @param {GateConfig} config
 * @returns {Float32Array}
 */
export function novelty(latents, held, depth, weights, edges, config) {
  const size = weights.length;
  const score = new Float32Array(latents.length / size);
  const floor = fround(config.floor);
  const scale = fround(config.scale);
  const totals = edges.map((edge) => shareOf(weights, edge));
  const whole = edges.length - 1;
  for (let cell = 0; cell < score.length; cell++) {
    const levels = depth === null ? whole : depth[cell];
    if (levels === 0) {
      score[cell] = 1;
      continue;
    }
    const distance = fround(squares(latents, held, weights, cell * size, edges[levels]) / totals[levels]);
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
 * How far the model's knowledge of each cell is from what is seen: weighted squared distances, `levels` numbers a
 * cell; a level that is not held reads as zeros.
 *
 * @typedef {object} Losses
 * @property {number} levels
 * @property {Float32Array} now as the canvas stands; what noise explains does not count
 * @property {Float32Array} blank were the level not held
 * @property {Float32Array} told were it told now
 */

/**
 * Weigh what is seen against what the canvas holds.
 *
 * @param {Float32Array} latents
 * @param {Float32Array} rounded what would be told
 * @param {Float32Array} held
 * @param {Uint8Array} depth
 * @param {Float32Array} weights
 * @param {readonly number[]} edges
 * @param {number} noise a squared difference of that much from what is held is none
 * @returns {Losses}
 */
export function losses(latents, rounded, held, depth, weights, edges, noise) {
  const size = weights.length;
  const levels = edges.length - 1;
  const count = depth.length * levels;
  const [now, blank, told] = [new Float32Array(count), new Float32Array(count), new Float32Array(count)];
  const terms = lineOf(size);
  const explained = fround(noise);
  for (let cell = 0; cell < depth.length; cell++) {
    const at = cell * size;
    const to = cell * levels;
    for (let place = 0; place < size; place++) {
      const seen = latents[at + place];
      terms[place] = fround(seen * seen) * weights[place];
    }
    byLevel(terms, edges, blank, to);
    const known = edges[depth[cell]]; // what is not held counts as were it blank
    for (let place = 0; place < known; place++) {
      const missing = fround(latents[at + place] - held[at + place]);
      terms[place] = max(fround(fround(missing * missing) - explained), 0) * weights[place];
    }
    byLevel(terms, edges, now, to);
    for (let place = 0; place < size; place++) {
      const off = fround(latents[at + place] - rounded[at + place]);
      terms[place] = fround(off * off) * weights[place];
    }
    byLevel(terms, edges, told, to);
    for (let level = to; level < to + levels; level++) if (told[level] > blank[level]) told[level] = blank[level];
  }
  return { levels, now, blank, told };
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
 * The squared distance of each cell from what is held of it, level by level; from zero where nothing is.
 *
 * @param {Float32Array} latents
 * @param {Float32Array} held
 * @param {Uint8Array} depth
 * @param {readonly number[]} edges
 * @returns {Float32Array}
 */
export function missed(latents, held, depth, edges) {
  const levels = edges.length - 1;
  const size = edges[levels];
  const out = new Float32Array(depth.length * levels);
  const terms = lineOf(size);
  for (let cell = 0; cell < depth.length; cell++) {
    const at = cell * size;
    const known = edges[depth[cell]];
    for (let place = 0; place < size; place++) {
      const missing = fround(latents[at + place] - (place < known ? held[at + place] : 0));
      terms[place] = missing * missing;
    }
    byLevel(terms, edges, out, cell * levels);
  }
  return out;
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
