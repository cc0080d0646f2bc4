// @ts-check
/**
 * The range coder and its tables, twin of vidtok/entropy.py.
 *
 *     symbols --RangeEncoder--> bytes --RangeDecoder--> symbols
 *                    |                        |
 *                    +--- Tables, 12 bits ----+
 *
 * All of it is whole numbers below 2**45, which doubles hold exactly. What may reach 2**31 and more is added and
 * multiplied as a double; the bit operators see nothing that does not fit 32 bits, and `>>>` takes the sign off.
 */

import { CHANNELS, GIST, GIST_LEVELS, LEVELS, VALUES } from "./levels.js";

const PROB_BITS = 12;
const TOP = 2 ** 32;
const BOTTOM = 2 ** 24;

/** What the frequencies of a table add up to. */
export const TOTAL = 1 << PROB_BITS;

/** Classes of how many cells a patch edits. */
export const DENSITIES = 8;

/** Pan symbols below are zigzag offsets; this one announces a raw number. */
export const PAN_ESCAPE = 48;

/** Symbols of a move: -8 .. 8 cells. */
export const MOVE_SPAN = 17;

/** Move, set to 1 .., refine to 1 ... */
export const OPERATIONS = 2 * LEVELS + 1;

/** The context of a value that was not there. */
export const NO_VALUE = VALUES;

/** Classes of how much of the gist changes. */
export const TURNS = 4;

/** 0 .. 14 from the cells left and above, 15 for none. */
export const NEIGHBOURS = 2 * VALUES;

/**
 * Contexts and, last, symbols of every table, in stored order.
 *
 * @type {Readonly<Record<string, readonly number[]>>}
 */
export const SHAPES = Object.freeze({
  density: [DENSITIES],
  edited: [DENSITIES, 16, 2, 2],
  operation: [LEVELS + 1, OPERATIONS + 1, OPERATIONS],
  pan: [PAN_ESCAPE + 1],
  gist: [GIST_LEVELS + 1, GIST_LEVELS + 1],
  turn: [TURNS],
  gist_value: [GIST, TURNS, VALUES + 1, VALUES],
  move_x: [MOVE_SPAN + 1, MOVE_SPAN],
  move_y: [MOVE_SPAN + 1, MOVE_SPAN],
  value: [CHANNELS, VALUES + 1, NEIGHBOURS, VALUES],
});

/** A payload does not decode against its base canvas. */
export class PayloadError extends Error {
  name = "PayloadError";
}

/** Tables are damaged or of another build. */
export class WeightsError extends Error {
  name = "WeightsError";
}

/**
 * One table: for every context, flattened in C order, `symbols + 1` cumulative frequencies from 0 to TOTAL.
 *
 * @typedef {object} Table
 * @property {number} symbols
 * @property {Uint16Array} cumulative
 */

/** The static tables, by name. */
export class Tables {
  #bytes;
  /** @type {{ value: Float32Array, gistValue: Float32Array } | undefined} */
  #costs;

  /**
   * Read the stored form; a WeightsError when it is not one.
   *
   * @param {Uint8Array} bytes
   */
  constructor(bytes) {
    const sizes = Object.values(SHAPES).map((shape) => shape.reduce((product, side) => product * side));
    const expected = 2 * sizes.reduce((sum, size) => sum + size);
    if (bytes.length !== expected) {
      throw new WeightsError(`tables: ${bytes.length} bytes, expected ${expected}: not the tables of this version`);
    }
    this.#bytes = Uint8Array.from(bytes);
    let start = 0;
    /** @type {Table[]} */
    const tables = Object.values(SHAPES).map((shape, index) => {
      const end = start + 2 * sizes[index];
      const table = summedUp(this.#bytes.subarray(start, end), shape[shape.length - 1]);
      start = end;
      return table;
    });
    [
      this.density,
      this.edited,
      this.operation,
      this.pan,
      this.gist,
      this.turn,
      this.gistValue,
      this.moveX,
      this.moveY,
      this.value,
    ] = tables;
  }

  /**
   * Bits that each symbol of the values' tables costs, context by context: for planning only, never part of the
   * contract.
   */
  get costs() {
    this.#costs ??= { value: costsOf(this.value), gistValue: costsOf(this.gistValue) };
    return this.#costs;
  }

  /**
   * Eight bytes that name this build of the tables.
   *
   * @returns {Promise<Uint8Array>}
   */
  async digest() {
    return new Uint8Array(await crypto.subtle.digest("SHA-256", this.#bytes)).slice(0, 8);
  }
}

/**
 * @param {Uint8Array} bytes frequencies, little-endian
 * @param {number} symbols
 * @returns {Table}
 */
function summedUp(bytes, symbols) {
  const contexts = bytes.length / 2 / symbols;
  const cumulative = new Uint16Array(contexts * (symbols + 1));
  for (let context = 0, from = 0, to = 0; context < contexts; context++, to++) {
    let sum = 0;
    for (let symbol = 0; symbol < symbols; symbol++, from += 2) {
      const frequency = bytes[from] | (bytes[from + 1] << 8);
      sum += frequency;
      if (frequency === 0 || sum > TOTAL) break;
      cumulative[++to] = sum;
    }
    if (to !== (context + 1) * (symbols + 1) - 1 || sum !== TOTAL) {
      throw new WeightsError("tables: frequencies do not add up: damaged tables");
    }
  }
  return { symbols, cumulative };
}

/**
 * @param {Table} table
 * @returns {Float32Array}
 */
function costsOf({ symbols, cumulative }) {
  const contexts = cumulative.length / (symbols + 1);
  const costs = new Float32Array(contexts * symbols);
  for (let context = 0, at = 0, to = 0; context < contexts; context++, at++) {
    for (let symbol = 0; symbol < symbols; symbol++, at++) {
      costs[to++] = PROB_BITS - Math.log2(cumulative[at + 1] - cumulative[at]);
    }
  }
  return costs;
}

/** Symbols in, bytes out. Trailing zero bytes are left off; the decoder reads zeros past the end. */
export class RangeEncoder {
  #low = 0;
  #range = TOP - 1;
  #out = new Uint8Array(1024);
  #length = 0;

  /**
   * One symbol of a table, given its context.
   *
   * @param {Table} table
   * @param {number} context
   * @param {number} symbol
   * @returns {number} the symbol
   */
  symbol({ symbols, cumulative }, context, symbol) {
    if (!(symbol < symbols)) throw new RangeError(`symbol ${symbol} is outside its table`);
    const place = context * (symbols + 1) + symbol;
    this.#encode(cumulative[place], cumulative[place + 1] - cumulative[place]);
    return symbol;
  }

  /**
   * `count` raw bits, most significant first, 32 at most.
   *
   * @param {number} count
   * @param {number} value
   * @returns {number} the value
   */
  bits(count, value) {
    while (count > 0) {
      const chunk = Math.min(count, 8);
      count -= chunk;
      const part = (value >>> count) & ((1 << chunk) - 1);
      this.#encode(part << (PROB_BITS - chunk), TOTAL >> chunk);
    }
    return value;
  }

  /**
   * The shortest bytes that decode to what was encoded.
   *
   * @returns {Uint8Array}
   */
  finish() {
    let value = 0;
    for (const step of [TOP, BOTTOM]) {
      // The range is never below 2 ** 24, so one of them fits.
      value = Math.ceil(this.#low / step) * step;
      if (value < this.#low + this.#range) break;
    }
    this.#low = value;
    if (value >= TOP) this.#carry();
    for (const shift of [24, 16, 8, 0]) this.#push((this.#low >>> shift) & 255);
    let end = this.#length;
    while (end > 0 && this.#out[end - 1] === 0) end--;
    return this.#out.slice(0, end);
  }

  /**
   * @param {number} start
   * @param {number} size
   */
  #encode(start, size) {
    const unit = this.#range >>> PROB_BITS;
    this.#low += unit * start;
    this.#range = unit * size;
    if (this.#low >= TOP) this.#carry();
    while (this.#range < BOTTOM) {
      this.#push(this.#low >>> 24);
      this.#low = (this.#low << 8) >>> 0;
      this.#range *= 256;
    }
  }

  #carry() {
    this.#low -= TOP;
    let place = this.#length - 1;
    while (this.#out[place] === 255) this.#out[place--] = 0;
    this.#out[place]++;
  }

  /** @param {number} byte */
  #push(byte) {
    if (this.#length === this.#out.length) {
      const wider = new Uint8Array(2 * this.#length);
      wider.set(this.#out);
      this.#out = wider;
    }
    this.#out[this.#length++] = byte;
  }
}

/** The encoder's mirror. Any bytes decode to some symbols; bounds are the caller's to check. */
export class RangeDecoder {
  #bytes;
  #read = 4;
  #code = 0;
  #range = TOP - 1;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
    for (let index = 0; index < 4; index++) this.#code = this.#code * 256 + (bytes[index] ?? 0);
  }

  /**
   * The next symbol, given its table and context.
   *
   * @param {Table} table
   * @param {number} context
   * @returns {number}
   */
  symbol({ symbols, cumulative }, context) {
    const unit = this.#range >>> PROB_BITS;
    const target = this.#target(unit);
    const first = context * (symbols + 1);
    let low = first;
    let high = first + symbols;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] <= target) low = middle;
      else high = middle;
    }
    this.#advance(unit, cumulative[low], cumulative[low + 1] - cumulative[low]);
    return low - first;
  }

  /**
   * `count` raw bits, most significant first.
   *
   * @param {number} count
   * @returns {number}
   */
  bits(count) {
    let value = 0;
    while (count > 0) {
      const chunk = Math.min(count, 8);
      count -= chunk;
      const unit = this.#range >>> PROB_BITS;
      const part = this.#target(unit) >> (PROB_BITS - chunk);
      this.#advance(unit, part << (PROB_BITS - chunk), TOTAL >> chunk);
      value = value * 2 ** chunk + part;
    }
    return value;
  }

  /** Everything must have been read: bytes left over mean that this is not what was written. */
  finish() {
    const left = this.#bytes.length - this.#read;
    if (left > 0) throw new PayloadError(`payload has ${left} bytes too many`);
  }

  /**
   * @param {number} unit
   * @returns {number}
   */
  #target(unit) {
    const target = Math.floor(this.#code / unit);
    if (target >= TOTAL) throw new PayloadError("payload holds a symbol outside its table");
    return target;
  }

  /**
   * @param {number} unit
   * @param {number} start
   * @param {number} size
   */
  #advance(unit, start, size) {
    this.#code -= unit * start;
    this.#range = unit * size;
    while (this.#range < BOTTOM) {
      this.#code = this.#code * 256 + (this.#read < this.#bytes.length ? this.#bytes[this.#read] : 0);
      this.#range *= 256;
      this.#read++;
    }
  }
}
