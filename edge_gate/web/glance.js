// @ts-check
/**
 * The first look at a frame, twin of `glance` and `thumbnail` in edge_gate/novelty.py.
 *
 *     frame --means of blocks--> thumbnail --glance--> has anything moved at all? --no--> nothing runs, nothing is sent
 */

import { TICK_S } from "./budget.js";

/** @typedef {import("./novelty.js").GateConfig} GateConfig */

const { abs, fround, max, min } = Math;

const GLANCE_BLOCK = 8; // pixels on a side of a thumbnail's pixel
const OTHER_COLOUR = 0.6; // what a change of one colour counts, against one of all three
const EVEN = 0x00ff00ff; // red and blue of a word

/**
 * A picture, row by row: red, green and blue of each pixel, and what may come fourth.
 *
 * @typedef {object} Pixels
 * @property {Uint8Array | Uint8ClampedArray} data
 * @property {number} width
 * @property {number} height
 * @property {number} channels 3 or 4
 */

/**
 * The mean of each block of a frame; what does not fill a block is cut off.
 *
 * @typedef {object} Thumbnail
 * @property {number} rows
 * @property {number} cols
 * @property {Float32Array} data three numbers a block
 */

/**
 * @param {Pixels} pixels
 * @returns {Thumbnail}
 */
export function thumbnail(pixels) {
  const rows = Math.floor(pixels.height / GLANCE_BLOCK);
  const cols = Math.floor(pixels.width / GLANCE_BLOCK);
  const small = { rows, cols, data: new Float32Array(rows * cols * 3) };
  const inWords = pixels.channels === 4 && pixels.data.byteOffset % 4 === 0;
  (inWords ? sumWords : sumBytes)(pixels, small);
  return small;
}

/**
 * Four bytes at a time: a canvas's picture. Words have their first byte lowest wherever browsers run; what a sum of
 * green and alpha loses at its top is alpha's.
 *
 * @param {Pixels} pixels
 * @param {Thumbnail} small
 */
function sumWords({ data, width }, { rows, cols, data: means }) {
  const words = new Int32Array(data.buffer, data.byteOffset, data.length >> 2);
  for (let row = 0, to = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, to += 3) {
      let all = 0;
      let even = 0;
      let at = row * GLANCE_BLOCK * width + col * GLANCE_BLOCK;
      for (let down = 0; down < GLANCE_BLOCK; down++, at += width) {
        const a = words[at];
        const b = words[at + 1];
        const c = words[at + 2];
        const d = words[at + 3];
        const e = words[at + 4];
        const f = words[at + 5];
        const g = words[at + 6];
        const h = words[at + 7];
        all = (all + a + b + c + d + e + f + g + h) | 0;
        even = (even + (a & EVEN) + (b & EVEN) + (c & EVEN) + (d & EVEN)) | 0;
        even = (even + (e & EVEN) + (f & EVEN) + (g & EVEN) + (h & EVEN)) | 0;
      }
      means[to] = (even & 0xffff) / 64;
      means[to + 1] = (((all - even) >>> 8) & 0xffff) / 64;
      means[to + 2] = (even >>> 16) / 64;
    }
  }
}

/**
 * @param {Pixels} pixels
 * @param {Thumbnail} small
 */
function sumBytes({ data, width, channels }, { rows, cols, data: means }) {
  for (let row = 0, to = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, to += 3) {
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let down = 0; down < GLANCE_BLOCK; down++) {
        let at = ((row * GLANCE_BLOCK + down) * width + col * GLANCE_BLOCK) * channels;
        for (let across = 0; across < GLANCE_BLOCK; across++, at += channels) {
          red += data[at];
          green += data[at + 1];
          blue += data[at + 2];
        }
      }
      means[to] = red / 64;
      means[to + 1] = green / 64;
      means[to + 2] = blue / 64;
    }
  }
}

/**
 * The thumbnail at the last look, when that was, and how long after it the next is due whatever happens.
 *
 * @typedef {object} GlanceState
 * @property {Thumbnail | null} thumbnail
 * @property {number} lookedS
 * @property {number} waitS
 * @property {boolean} woken whether that look was for a change, and not because it was time
 */

/** @type {Readonly<GlanceState>} Before the first look. */
export const UNSEEN = Object.freeze({ thumbnail: null, lookedS: -Infinity, waitS: 0, woken: false });

/**
 * The state after a closer look if one is due, null if none is; `small` is the frame's thumbnail.
 *
 * A change of exposure lifts the whole picture alike, mains flicker whole rows of it: both are taken out before
 * comparing.
 *
 * @param {GlanceState} state
 * @param {Thumbnail} small
 * @param {number} now
 * @param {GateConfig} config
 * @returns {GlanceState | null}
 */
export function glance(state, small, now, config) {
  const before = state.thumbnail;
  const looked = { thumbnail: small, lookedS: now, waitS: config.lookEveryS, woken: false };
  if (before === null || before.rows !== small.rows || before.cols !== small.cols) return looked;
  if (change(before, small) >= config.glance) return { ...looked, woken: true };
  if (now - state.lookedS >= state.waitS - TICK_S) {
    return { ...looked, waitS: min(2 * state.waitS, config.lookAtLeastS) };
  }
  return null;
}

/**
 * @param {Thumbnail} before
 * @param {Thumbnail} small
 * @returns {number} brightness levels that the place which changed most has changed by
 */
function change({ rows, cols, data: before }, { data: small }) {
  let brighter = 0;
  let coloured = 0;
  for (let row = 0; row < rows; row++) {
    const gain = brightened(small, before, row * cols, cols);
    for (let place = row * cols * 3; place < (row + 1) * cols * 3; place += 3) {
      const red = fround(small[place] - fround(before[place] * gain));
      const green = fround(small[place + 1] - fround(before[place + 1] * gain));
      const blue = fround(small[place + 2] - fround(before[place + 2] * gain));
      const all = abs(fround(fround(fround(red + green) + blue) / 3));
      if (all > brighter) brighter = all;
      if (abs(red) > coloured) coloured = abs(red);
      if (abs(green) > coloured) coloured = abs(green);
      if (abs(blue) > coloured) coloured = abs(blue);
    }
  }
  return max(brighter, OTHER_COLOUR * coloured);
}

let ratios = new Float32Array(256);
let heavy = new Float32Array(256);

/**
 * How much brighter a row has become: the median over its places, which count by how bright they were. In the dark a
 * ratio is mostly noise, and the bright places beside it would be held to it.
 *
 * @param {Float32Array} now
 * @param {Float32Array} before
 * @param {number} first place of the row
 * @param {number} count
 * @returns {number}
 */
function brightened(now, before, first, count) {
  if (ratios.length < count) [ratios, heavy] = [new Float32Array(count), new Float32Array(count)];
  let total = 0;
  for (let place = 0, green = first * 3 + 1; place < count; place++, green += 3) {
    heavy[place] = max(before[green], 1);
    ratios[place] = now[green] / heavy[place];
    total += heavy[place];
  }
  return heavyMiddle(count, total);
}

/**
 * The smallest of `ratios` that with all below it weighs half of the total, found by halving: brightnesses are whole
 * 64ths, so that their sums are exact in any order.
 *
 * @param {number} end
 * @param {number} total
 * @returns {number}
 */
function heavyMiddle(end, total) {
  let start = 0;
  let below = 0;
  for (;;) {
    const pivot = ratios[(start + end) >> 1];
    let less = start; // smaller ones | equal ones | not looked at | larger ones
    let at = start;
    let more = end;
    let lighter = 0;
    let equal = 0;
    while (at < more) {
      const ratio = ratios[at];
      const weight = heavy[at];
      if (ratio < pivot) {
        lighter += weight;
        swap(less++, at++);
      } else if (ratio > pivot) {
        swap(at, --more);
      } else {
        equal += weight;
        at++;
      }
    }
    if (2 * (below + lighter) >= total) {
      end = less;
    } else {
      below += lighter + equal;
      if (2 * below >= total) return pivot;
      start = more;
    }
  }
}

/** @param {number} one @param {number} other */
function swap(one, other) {
  const ratio = ratios[one];
  const weight = heavy[one];
  ratios[one] = ratios[other];
  heavy[one] = heavy[other];
  ratios[other] = ratio;
  heavy[other] = weight;
}
