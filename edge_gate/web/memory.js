// @ts-check
/**
 * What the gate remembers of one camera, and what its network is asked about every cell; twin of edge_gate/memory.py.
 *
 *     latents, look by look --> Memory: the last look, slow averages, how restless each cell has been
 *                       |--> glimpse: what is unlike before, and unlike what is usual here ----+
 *     latents against what the receiver holds -------------------------------------------------+--> asked
 *
 *     chance of an event --surprise--> what of it is new here
 *
 * Logarithms may differ from numpy's in the last bit: they are what the network is told, and decide nothing else.
 */

import { byLevel, mean, median } from "./sums.js";

const { exp, fround, log1p, max } = Math;

const [USUAL_S, SPREAD_S] = [3, 5]; // time constants of the slow averages
const RESTLESS_S = Object.freeze([0.4, 4]); // of the quick and the slow average of change
const [BUSY_S, CALM_S] = [0.6, 6]; // how soon a place counts as busy, and how late as calm again
const COARSE = 14; // latents that say roughly what a cell shows: those of the first two levels
const YOUNG = fround(0.05); // averages younger than this say nothing yet
const SCALE = fround(0.02); // of squared distances: below it all are alike

/**
 * State of one camera between looks.
 *
 * @typedef {object} Memory
 * @property {Float32Array} latents the last look
 * @property {Float32Array} usual its slow average
 * @property {Float32Array} spread how far looks have been from that, a number a level
 * @property {Float32Array} restless how far they have been from each other, two numbers a cell
 * @property {number} sinceS when the camera was first seen
 * @property {number} timeS
 */

/**
 * Numbers that a glimpse has of each cell.
 *
 * @param {number} levels
 */
export const glimpsed = (levels) => 3 * levels + RESTLESS_S.length + 1 + 6 + COARSE;

/**
 * Numbers that the network is asked with of each cell.
 *
 * @param {number} levels
 */
export const inputs = (levels) => 2 * levels + 2 + glimpsed(levels);

/**
 * What a look shows by itself and against what was, `glimpsed` numbers a cell, and the new memory.
 *
 * @param {Memory | null} memory
 * @param {Float32Array} latents
 * @param {{ rows: number, cols: number }} grid
 * @param {number} timeS
 * @param {readonly number[]} edges level n's latents are edges[n] .. edges[n + 1]
 * @returns {{ glimpse: Float32Array, memory: Memory }}
 */
export function remember(memory, latents, grid, timeS, edges) {
  const levels = edges.length - 1;
  const cells = grid.rows * grid.cols;
  const last = memory ?? {
    latents,
    usual: latents,
    spread: new Float32Array(cells * levels),
    restless: new Float32Array(cells * RESTLESS_S.length),
    sinceS: timeS,
    timeS,
  };
  const changed = unlike(latents, last.latents, cells, edges);
  const unusual = unlike(latents, last.usual, cells, edges);
  const change = changed.mean;
  const glimpse = new Float32Array(cells * glimpsed(levels));
  const ageS = timeS - last.sinceS;
  const whole = [mean(change, 0, cells), median(change), mean(unusual.mean, 0, cells), median(unusual.mean)].map(flat);
  const aged = max(share(ageS, SPREAD_S), YOUNG);
  const paces = RESTLESS_S.map((constantS) => max(share(ageS, constantS), YOUNG));
  const age = log1p(ageS);
  for (let cell = 0, to = 0; cell < cells; cell++) {
    const first = cell * levels;
    for (let level = first; level < first + levels; level++) glimpse[to++] = flat(changed.byLevel[level]);
    for (let level = first; level < first + levels; level++) glimpse[to++] = flat(unusual.byLevel[level]);
    for (let level = first; level < first + levels; level++) glimpse[to++] = flat(fround(last.spread[level] / aged));
    for (let pace = 0; pace < paces.length; pace++) {
      glimpse[to++] = flat(fround(last.restless[cell * paces.length + pace] / paces[pace]));
    }
    glimpse[to++] = age;
    around(change, grid, cell);
    let most = near[0];
    for (let place = 1; place < near.length; place++) most = max(most, near[place]);
    glimpse[to++] = flat(most);
    glimpse[to++] = flat(mean(near, 0, near.length));
    for (let each = 0; each < whole.length; each++) glimpse[to++] = whole[each];
    for (let place = cell * edges[levels]; place < cell * edges[levels] + COARSE; place++) {
      glimpse[to++] = latents[place];
    }
  }
  const passedS = max(timeS - last.timeS, 0);
  const spread = averaged(last.spread, unusual.byLevel, share(passedS, SPREAD_S));
  const restless = new Float32Array(last.restless.length);
  const newest = RESTLESS_S.map((constantS) => share(passedS, constantS));
  for (let place = 0; place < restless.length; place++) {
    const before = last.restless[place];
    restless[place] = before + fround(newest[place & 1] * fround(change[place >> 1] - before));
  }
  const usual = averaged(last.usual, latents, share(passedS, USUAL_S));
  return { glimpse, memory: { latents, usual, spread, restless, sinceS: last.sinceS, timeS } };
}

/** A cell and its neighbours. */
const near = new Float32Array(9);

/**
 * Fill `near`; beyond the border nothing changes.
 *
 * @param {Float32Array} change
 * @param {{ rows: number, cols: number }} grid
 * @param {number} cell
 */
function around(change, { rows, cols }, cell) {
  const row = Math.floor(cell / cols);
  const col = cell % cols;
  for (let y = row - 1, place = 0; y <= row + 1; y++) {
    for (let x = col - 1; x <= col + 1; x++, place++) {
      near[place] = y >= 0 && y < rows && x >= 0 && x < cols ? change[y * cols + x] : 0;
    }
  }
}

/** One cell's squared differences, while they are added up. */
let line = new Float32Array(512);

/**
 * Mean squared differences of each cell, by level and over its levels.
 *
 * @param {Float32Array} latents
 * @param {Float32Array} before
 * @param {number} cells
 * @param {readonly number[]} edges
 */
function unlike(latents, before, cells, edges) {
  const levels = edges.length - 1;
  const size = edges[levels];
  const out = { byLevel: new Float32Array(cells * levels), mean: new Float32Array(cells) };
  if (line.length < size) line = new Float32Array(size);
  for (let cell = 0; cell < cells; cell++) {
    const at = cell * size;
    for (let place = 0; place < size; place++) {
      const difference = fround(latents[at + place] - before[at + place]);
      line[place] = difference * difference;
    }
    byLevel(line, edges, out.byLevel, cell * levels);
    for (let level = 0; level < levels; level++) out.byLevel[cell * levels + level] /= edges[level + 1] - edges[level];
    out.mean[cell] = mean(out.byLevel, cell * levels, levels);
  }
  return out;
}

/**
 * @param {Float32Array} before
 * @param {Float32Array} newest
 * @param {number} share
 */
function averaged(before, newest, share) {
  const out = new Float32Array(before.length);
  for (let place = 0; place < out.length; place++) {
    out[place] = before[place] + fround(share * fround(newest[place] - before[place]));
  }
  return out;
}

/**
 * All that the network is told, `inputs` planes of a number a cell.
 *
 * @param {Float32Array} glimpse
 * @param {Float32Array} missed squared distance from what the receiver holds, a number a level of each cell
 * @param {Uint8Array} depth levels that it holds
 * @param {Float32Array} quietS for how long a cell has stood
 * @param {Float32Array} shown the share of it that is in sight
 * @param {readonly number[]} edges
 * @returns {Float32Array}
 */
export function asked(glimpse, missed, depth, quietS, shown, edges) {
  const cells = depth.length;
  const levels = edges.length - 1;
  const out = new Float32Array(inputs(levels) * cells);
  const size = glimpsed(levels);
  for (let cell = 0; cell < cells; cell++) {
    let to = cell;
    for (let level = 0; level < levels; level++, to += cells) {
      out[to] = log1p(missed[cell * levels + level] / (edges[level + 1] - edges[level]) / SCALE);
    }
    for (let level = 0; level < levels; level++, to += cells) out[to] = depth[cell] > level ? 1 : 0;
    out[to] = log1p(quietS[cell]);
    out[to + cells] = shown[cell];
    to += 2 * cells;
    for (let place = cell * size; place < (cell + 1) * size; place++, to += cells) out[to] = glimpse[place];
  }
  return out;
}

/**
 * Where something has been going on, more of it surprises nobody: what of each cell's chance is new, and how busy.
 *
 * @param {Float32Array} event
 * @param {Float32Array | null} busy what was remembered; what is returned is to be remembered
 * @param {number} passedS
 * @returns {{ fresh: Float32Array, busy: Float32Array }}
 */
export function surprise(event, busy, passedS) {
  const before = busy ?? new Float32Array(event.length);
  const [rising, falling] = [share(passedS, BUSY_S), share(passedS, CALM_S)];
  const fresh = event.map((chance, cell) => {
    const left = fround(2 - fround(4 * before[cell]));
    return chance * (left < 0 ? 0 : left > 1 ? 1 : left);
  });
  const after = before.map((was, cell) => {
    const more = event[cell] > was ? rising : falling;
    return was + fround(more * fround(event[cell] - was));
  });
  return { fresh, busy: after };
}

/** @param {number} squares */
function flat(squares) {
  return fround(log1p(fround(squares / SCALE)));
}

/**
 * What the newest look counts in an average; over a young camera's age, what its average has come to.
 *
 * @param {number} passedS
 * @param {number} constantS
 */
function share(passedS, constantS) {
  return fround(1 - exp(-passedS / constantS));
}
