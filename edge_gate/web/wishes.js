// @ts-check
/**
 * What the receiver's application wishes of the gate, as a sender reads it; twin of edge_gate/wishes.py, where the keys
 * of a feedback map stand.
 *
 *     Feedback --readWishes--> Wishes --counts--> a factor for every gain of every cell
 *
 * Any map can be read: what is missing or makes no sense is as if it were not there, and no number of a peer's decides
 * how much is allocated.
 */

import { mean } from "./sums.js";

const { fround, max, min, sqrt } = Math;

const [LEAST, MOST] = [0.25, 4]; // what attention makes of a gain
const DETAIL = 64; // what a gain counts where detail is wished for: even the level for pictures is worth a dear bit
const MOST_BOXES = 8;
const MOST_INTEREST = 16;
const MOST_PLACE = 2 ** 30; // scene pixels from where the scene began

/**
 * How much each cell of a window onto the scene is looked at.
 *
 * @typedef {object} Attention
 * @property {readonly [number, number]} at x and y, a scene pixel of the first cell
 * @property {number} cols
 * @property {Uint8Array} weights one a cell, row by row
 */

/**
 * All that is wished at one time.
 *
 * @typedef {object} Wishes
 * @property {number} kbps
 * @property {number} tokensPerS
 * @property {number} interest what everything counts
 * @property {Attention | null} attention
 * @property {readonly (readonly number[])[]} detail left, top, width and height in scene pixels of what is to be read
 */

/** @type {Readonly<Wishes>} */
export const NO_WISHES = Object.freeze({
  kbps: Infinity,
  tokensPerS: Infinity,
  interest: 1,
  attention: null,
  detail: Object.freeze([]),
});

/**
 * The wishes of any map.
 *
 * @param {Map<string, any>} feedback
 * @returns {Readonly<Wishes>}
 */
export function readWishes(feedback) {
  const boxes = feedback.get("detail");
  const interest = numberOf(feedback.get("interest"), 1);
  return Object.freeze({
    kbps: limitOf(feedback.get("kbps")),
    tokensPerS: limitOf(feedback.get("tokens_per_s")),
    interest: min(max(interest, 1 / MOST_INTEREST), MOST_INTEREST),
    attention: attentionOf(feedback.get("attention")),
    detail: Array.isArray(boxes) ? boxes.slice(0, MOST_BOXES).filter(isBox) : [],
  });
}

/**
 * Whether both wish the same.
 *
 * @param {Wishes} one
 * @param {Wishes} other
 * @returns {boolean}
 */
export function sameWishes(one, other) {
  const told = (/** @type {Wishes} */ { kbps, tokensPerS, interest, attention, detail }) => {
    const looked = attention && [...attention.at, attention.cols, ...attention.weights];
    return JSON.stringify([String(kbps), String(tokensPerS), interest, looked, detail]);
  };
  return told(one) === told(other);
}

/**
 * By what all gains of a cell are multiplied; the frame's corner stands where the scene begins.
 *
 * @param {Wishes} wishes
 * @param {Uint8Array} inSight
 * @param {{ rows: number, cols: number }} grid
 * @param {number} cell pixels on its side
 * @returns {Float32Array}
 */
export function counts({ attention, detail, interest }, inSight, grid, cell) {
  const factor = attention ? attended(attention, inSight, grid, cell) : new Float32Array(inSight.length).fill(1);
  for (const box of detail) fillBox(factor, box, grid, cell);
  const count = fround(interest);
  return factor.map((each) => each * count);
}

/**
 * LEAST to MOST, about 1 on average in sight; 1 where nothing is said of a cell.
 *
 * @param {Attention} attention
 * @param {Uint8Array} inSight
 * @param {{ rows: number, cols: number }} grid
 * @param {number} cell
 * @returns {Float32Array}
 */
function attended({ at: [x, y], cols: wide, weights }, inSight, { rows, cols }, cell) {
  const factor = new Float32Array(inSight.length).fill(1);
  const [right, down] = [Math.floor(x / cell), Math.floor(y / cell)];
  const high = weights.length / wide;
  const said = [];
  for (let row = max(0, down); row < min(rows, down + high); row++) {
    for (let col = max(0, right); col < min(cols, right + wide); col++) {
      said.push({ place: row * cols + col, root: fround(sqrt(weights[(row - down) * wide + col - right])) });
    }
  }
  const seen = said.filter(({ place }) => inSight[place]);
  if (!seen.some(({ root }) => root > 0)) return factor;
  for (let round = 0; round < 2; round++) {
    const usual = mean(Float32Array.from(seen, ({ root }) => root), 0, seen.length);
    for (const each of said) each.root = min(max(fround(each.root / usual), LEAST), MOST);
  }
  for (const { place, root } of said) factor[place] = root;
  return factor;
}

/**
 * The cells that a box touches are wanted in detail.
 *
 * @param {Float32Array} factor
 * @param {readonly number[]} box
 * @param {{ rows: number, cols: number }} grid
 * @param {number} cell
 */
function fillBox(factor, [left, top, width, height], { rows, cols }, cell) {
  const [firstCol, lastCol] = [left, left + width - 1].map((place) => Math.floor(place / cell));
  const [firstRow, lastRow] = [top, top + height - 1].map((place) => Math.floor(place / cell));
  for (let row = max(0, firstRow); row <= min(lastRow, rows - 1); row++) {
    for (let col = max(0, firstCol); col <= min(lastCol, cols - 1); col++) factor[row * cols + col] = DETAIL;
  }
}

/**
 * @param {any} value of a map: a number, a Float that is whole, a BigInt, or something else
 * @param {number} otherwise
 * @returns {number}
 */
function numberOf(value, otherwise) {
  if (!(typeof value === "number" || typeof value === "bigint" || value instanceof Number)) return otherwise;
  const number = Number(value);
  if (Number.isNaN(number)) return otherwise;
  return min(max(number, -Number.MAX_VALUE), Number.MAX_VALUE);
}

/** @param {any} value */
function limitOf(value) {
  const number = numberOf(value, Infinity);
  return number > 0 ? number : Infinity;
}

/**
 * @param {any} value
 * @returns {Attention | null}
 */
function attentionOf(value) {
  if (!(value instanceof Map)) return null;
  const [at, cols, weights] = ["at", "cols", "weights"].map((name) => value.get(name));
  if (!Array.isArray(at) || at.length !== 2 || !at.every(isPlace)) return null;
  const wide = cols === true ? 1 : cols; // Python counts with truth, too
  if (!isWhole(wide) || wide < 1 || !(weights instanceof Uint8Array)) return null;
  if (weights.length === 0 || weights.length % wide) return null;
  return { at: [at[0], at[1]], cols: wide, weights };
}

/** @param {any} value */
function isBox(value) {
  return Array.isArray(value) && value.length === 4 && value.every(isPlace) && min(value[2], value[3]) >= 1;
}

/** @param {any} value */
function isPlace(value) {
  return isWhole(value) && Math.abs(value) <= MOST_PLACE;
}

/** @param {any} value of a map, where whole numbers that do not fit a double's digits are BigInts */
function isWhole(value) {
  return typeof value === "number" && Number.isSafeInteger(value);
}
