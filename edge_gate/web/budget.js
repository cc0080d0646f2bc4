// @ts-check
/**
 * The double cap: bits and model tokens, both hard over any second, spent where they buy most. Twin of
 * edge_gate/budget.py.
 *
 *     Ledger: what was sent in the last second, so what may be sent now
 *     buy():  gain and bits of every edit on offer -> the best edit of each cell, while both caps last
 *     explain(): why each cell was bought or not
 *     renew(): gain and bits of every number of the gist -> which to tell anew
 *
 * Gains and bits are float32 numbers, as in numpy; what is left of a cap is a double.
 */

import { byLevel } from "./sums.js";

const { fround, max, min, trunc } = Math;

/** How long after it was filmed a frame's packets may leave. */
export const LATE_S = 0.1;

/** Times closer than this are the same moment: decisions must not hang on a clock's last digits. */
export const TICK_S = 1e-3;

const WINDOW_S = 1 + LATE_S; // the caps hold for any second of leaving, so the ledger looks back further
const EDIT_BITS = 8; // place and operation of one edit
const GIST_BITS = 4; // of telling that there is a gist

/**
 * Hard limits over any second.
 *
 * @typedef {object} Caps
 * @property {number} kbps
 * @property {number} tokensPerS
 */

/** @type {Readonly<Caps>} */
export const CAPS = Object.freeze({ kbps: 30, tokensPerS: 300 });

/**
 * What may be spent now.
 *
 * @typedef {object} Allowance
 * @property {number} bits
 * @property {number} tokens
 */

/**
 * What spending must spare the model, in the unit of gains.
 *
 * @typedef {object} Price
 * @property {number} bit
 * @property {number} token
 */

/** Remembers a second of spending and a little more; tells what is left of both caps. Times are those of filming. */
export class Ledger {
  #asked;
  /** @type {{ at: number, bits: number, tokens: number }[]} */
  #spent = [];

  /** @param {Caps} caps */
  constructor(caps) {
    /** @type {Readonly<Caps>} */
    this.caps = checked(caps);
    this.#asked = this.caps;
  }

  /**
   * Take the receiver's limits: they lower our caps, never raise them.
   *
   * @param {number} kbps
   * @param {number} tokensPerS
   */
  honour(kbps, tokensPerS) {
    this.caps = checked({ kbps: min(kbps, this.#asked.kbps), tokensPerS: min(tokensPerS, this.#asked.tokensPerS) });
  }

  /**
   * Write down what has left.
   *
   * @param {number} at
   * @param {number} bits
   * @param {number} tokens
   */
  spend(at, bits, tokens) {
    if (bits || tokens) this.#spent.push({ at, bits, tokens });
  }

  /**
   * What may still be spent at `now` without any window of one second going over.
   *
   * @param {number} now
   * @returns {Allowance}
   */
  left(now) {
    while (this.#spent.length && this.#spent[0].at < now - WINDOW_S - TICK_S) this.#spent.shift();
    let [bits, tokens] = [0, 0];
    for (const entry of this.#spent) {
      bits += entry.bits;
      tokens += entry.tokens;
    }
    return { bits: max(0, this.caps.kbps * 1000 - bits), tokens: max(0, trunc(this.caps.tokensPerS - tokens)) };
  }
}

/**
 * @param {Caps} caps
 * @returns {Readonly<Caps>}
 */
function checked({ kbps, tokensPerS }) {
  if (!(kbps > 0 && tokensPerS > 0)) {
    throw new RangeError(`caps must be above zero, not ${kbps} kbps and ${tokensPerS} tokens/s`);
  }
  return Object.freeze({ kbps, tokensPerS });
}

/**
 * What one frame could send, `levels` numbers a cell. A gain is what an edit would spare the model, over as long as it
 * should last.
 *
 * @typedef {object} Offer
 * @property {number} levels
 * @property {Float32Array} setGain of setting a cell afresh to 1, 2, ... levels
 * @property {Float32Array} refineGain of refining it to as many, with what is held kept
 * @property {Float32Array} setBits of each level alone
 * @property {Uint8Array} depth levels held
 */

/**
 * What to send of each cell: at most one of the two.
 *
 * @typedef {object} Bought
 * @property {Uint8Array} setTo levels, 0 for none
 * @property {Uint8Array} refineTo levels, 0 for none
 * @property {Float32Array} gain the most that any edit would spare
 * @property {Uint8Array} worth whether that is worth its price, bought or not
 * @property {number} surplus gain, less its price
 */

/** One cell's options while they are weighed: set to 1 .., then refine to 1 ... */
class Options {
  /** @param {Offer} offer @param {Price} price */
  constructor(offer, price) {
    this.offer = offer;
    this.gain = new Float32Array(2 * offer.levels);
    this.bits = new Float32Array(2 * offer.levels);
    this.net = new Float32Array(2 * offer.levels);
    this.bit = fround(price.bit);
    this.token = fround(price.token);
  }

  /**
   * Look at a cell. What cannot be had (a refinement to what is held) is worth nothing and costs something.
   *
   * @param {number} cell
   */
  of(cell) {
    const { levels, setGain, refineGain, setBits, depth } = this.offer;
    const at = cell * levels;
    const held = depth[cell];
    let [sum, below] = [0, 0];
    for (let level = 0; level < levels; level++) {
      sum = fround(sum + setBits[at + level]);
      if (level + 1 === held) below = sum;
      this.#put(level, setGain[at + level], sum);
      const deeper = held > 0 && level + 1 > held;
      this.#put(levels + level, deeper ? refineGain[at + level] : 0, deeper ? fround(sum - below) : 0);
    }
  }

  /**
   * The first of the options with the largest net gain, of those that cost no more than `free`.
   *
   * @param {number} free
   */
  best(free) {
    const fits = fround(free);
    let best = 0;
    let most = -Infinity;
    for (let option = 0; option < this.net.length; option++) {
      if (this.bits[option] <= fits && this.net[option] > most) [best, most] = [option, this.net[option]];
    }
    return best;
  }

  /** @param {number} option @param {number} gain @param {number} bits */
  #put(option, gain, bits) {
    this.gain[option] = gain;
    this.bits[option] = max(bits, 0) + EDIT_BITS;
    this.net[option] = fround(gain - fround(this.bit * this.bits[option])) - this.token;
  }
}

/**
 * The edits that are worth their price, best gain for its share of what is `left` first, while `allowance` lasts.
 *
 * `left` is of both caps; the allowance is that or less, as the network has it from moment to moment. Each cell gets
 * the option with the largest gain after it is paid; where the bits run out, a cheaper one.
 *
 * @param {Offer} offer
 * @param {Allowance} allowance
 * @param {Price} price
 * @param {Allowance} left
 * @returns {Bought}
 */
export function buy(offer, allowance, price, left) {
  const { levels, depth } = offer;
  const cells = depth.length;
  const options = new Options(offer, price);
  const gain = new Float32Array(cells);
  const worth = new Uint8Array(cells);
  const best = new Uint8Array(cells);
  const rank = new Float32Array(cells);
  const [ofBits, ofToken] = [fround(max(left.bits, 1)), fround(1 / max(left.tokens, 1))];
  const wanted = [];
  for (let cell = 0; cell < cells; cell++) {
    options.of(cell);
    const option = options.best(Infinity);
    for (let each = 0; each < 2 * levels; each++) gain[cell] = max(gain[cell], options.gain[each]);
    if (!(options.net[option] > 0)) continue;
    worth[cell] = 1;
    best[cell] = option;
    rank[cell] = options.gain[option] / fround(fround(options.bits[option] / ofBits) + ofToken);
    wanted.push(cell);
  }
  wanted.sort((one, other) => rank[other] - rank[one] || one - other);
  const bought = { setTo: new Uint8Array(cells), refineTo: new Uint8Array(cells), gain, worth, surplus: 0 };
  let { bits: free, tokens } = allowance;
  for (const cell of wanted) {
    if (tokens <= 0) break;
    options.of(cell);
    let option = best[cell];
    if (options.bits[option] > fround(free)) {
      option = options.best(free);
      if (!(options.bits[option] <= fround(free) && options.net[option] > 0)) continue;
    }
    if (option < levels) bought.setTo[cell] = option + 1;
    else bought.refineTo[cell] = option - levels + 1;
    free -= options.bits[option];
    tokens -= 1;
    bought.surplus += options.net[option];
  }
  return bought;
}

/** Why a cell was or was not told of; MOVED is Python's only. */
export const Why = Object.freeze({
  OUT_OF_SIGHT: 0,
  NOTHING_NEW: 1,
  TOO_DEAR: 2, // new, but not worth its price
  NO_ROOM: 3, // worth its price, but the caps or the network left nothing for it
  MOVED: 4,
  REFINED: 5,
  NEWS: 6,
  EVENT: 7, // news, of which most was that something happens
});

/**
 * A `Why` for every cell; `alert` is what of a cell's gain is for the event alone.
 *
 * @param {Bought} bought
 * @param {Float32Array} alert
 * @param {Uint8Array} inSight
 * @returns {Uint8Array}
 */
export function explain({ setTo, refineTo, gain, worth }, alert, inSight) {
  return inSight.map((seen, cell) => {
    if (!seen) return Why.OUT_OF_SIGHT;
    if (setTo[cell] > 0) return alert[cell] > fround(gain[cell] / 2) ? Why.EVENT : Why.NEWS;
    if (refineTo[cell] > 0) return Why.REFINED;
    if (worth[cell]) return Why.NO_ROOM;
    return gain[cell] > 0 ? Why.TOO_DEAR : Why.NOTHING_NEW;
  });
}

/**
 * What a new gist could tell: of each number, and for each of `ways` ways of coding it, one way after the other.
 *
 * @typedef {object} GistOffer
 * @property {number} ways
 * @property {Float32Array} gain of telling a number as it is seen, over as long as that should last; alike in all ways
 * @property {Float32Array} told bits that this costs
 * @property {Float32Array} kept bits that repeating the held number costs; out of reach where none is held
 * @property {readonly number[]} edges level n's numbers are edges[n] .. edges[n + 1]
 */

/**
 * What to send of the gist.
 *
 * @typedef {object} Renewed
 * @property {number} levels 0 for nothing
 * @property {Uint8Array} told the numbers told as they are seen; the others of these levels are repeated
 * @property {number} bits
 * @property {number} surplus gain, less its price
 */

/**
 * The levels, and of them the numbers, that are worth their price and cost no more than `bits`; one token.
 *
 * @param {GistOffer} offer
 * @param {number} bits
 * @param {Price} price
 * @returns {Renewed}
 */
export function renew({ ways, gain, told, kept, edges }, bits, price) {
  const size = gain.length;
  const levels = edges.length - 1;
  const [bit, token, fits] = [fround(price.bit), fround(price.token), fround(bits)];
  const [cost, got] = [new Float32Array(size), new Float32Array(size)];
  const [costs, gains] = [new Float32Array(levels), new Float32Array(levels)];
  /** @type {Renewed} */
  let best = { levels: 0, told: new Uint8Array(size), bits: 0, surplus: 0 };
  for (let way = 0; way < ways; way++) {
    const tells = new Uint8Array(size);
    for (let place = 0, at = way * size; place < size; place++, at++) {
      const tell = fround(gain[place] - fround(bit * told[at])) > -fround(bit * kept[at]);
      tells[place] = tell ? 1 : 0;
      cost[place] = tell ? told[at] : kept[at];
      got[place] = tell ? gain[place] : 0;
    }
    byLevel(cost, edges, costs, 0);
    byLevel(got, edges, gains, 0);
    let [paid, spared] = [0, 0];
    for (let level = 0; level < levels; level++) {
      paid = fround(paid + costs[level]);
      spared = fround(spared + gains[level]);
      const whole = fround(paid + GIST_BITS);
      const net = fround(fround(spared - fround(bit * whole)) - token);
      if (whole <= fits && net > best.surplus) best = { levels: level + 1, told: tells, bits: whole, surplus: net };
    }
  }
  return best;
}
