// @ts-check
/**
 * What one frame could send and what that would spare the model: twin of what vidtok/live/sender.py offers its budget.
 *
 *     losses, how long they last, chances of an event --gainsOf--> gain of every edit --offerOf--> the same with bits
 */

import { GIST_EDGES, dequantise } from "./levels.js";
import { refineGain, renewal, setGain } from "./novelty.js";
import { valueCosts } from "./payload.js";

/** @typedef {import("./budget.js").GistOffer} GistOffer */
/** @typedef {import("./budget.js").Offer} Offer */

const { fround } = Math;

const FAINT = fround(1.4); // squared distance of a cell of which half of an alert is worth telling; rounding makes 1

/**
 * What every edit would spare the model while it lasts, `levels` numbers a cell, and what it tells of an event.
 *
 * @typedef {object} Gains
 * @property {Float32Array} set of setting a cell afresh to 1, 2, ... levels
 * @property {Float32Array} refine of refining it to as many
 * @property {Float32Array} alert what of each cell's gain is for the event alone
 */

/**
 * @param {import("./novelty.js").Losses} losses
 * @param {import("./network.js").Verdict} verdict
 * @param {Float32Array} factor what everything of a cell counts
 * @param {Float32Array} shown the share of a cell that is in sight
 * @param {Uint8Array} depth
 * @param {import("./settings.js").SendConfig} config
 * @returns {Gains}
 */
export function gainsOf(losses, { lastsS, event }, factor, shown, depth, config) {
  const { levels, missed } = losses;
  const [set, refine] = [setGain(losses), refineGain(losses, depth)];
  const worth = fround(config.alert);
  const alert = new Float32Array(depth.length);
  for (let cell = 0; cell < depth.length; cell++) {
    const lasts = fround(shown[cell] * fround(lastsS[cell] * factor[cell]));
    const told = fround(fround(shown[cell] * worth) * fround(event[cell] * factor[cell]));
    const first = cell * levels;
    const end = first + levels;
    let all = 0;
    for (let place = first; place < end; place++) all = fround(all + missed[place]);
    const most = fround(all + FAINT);
    let far = 0;
    for (let place = first; place < end; place++) {
      far = fround(far + missed[place]);
      alert[cell] = told * fround(far / most);
      const allowed = place - first < config.levels;
      set[place] = allowed ? fround(set[place] * lasts) + alert[cell] : 0;
      refine[place] = allowed ? refine[place] * lasts : 0;
    }
  }
  return { set, refine, alert };
}

/**
 * The gains with the bits that they cost. What does not even spare a token's price is not worth the counting.
 *
 * @param {Gains} gains
 * @param {number} tokenPrice
 * @param {import("./canvas.js").Canvas} base
 * @param {Uint8Array} values
 * @param {import("./entropy.js").Tables} tables
 * @returns {Offer}
 */
export function offerOf({ set, refine }, tokenPrice, base, values, tables) {
  const { depth } = base;
  const levels = set.length / depth.length;
  const wanted = new Uint8Array(depth.length);
  for (let cell = 0, place = 0; cell < depth.length; cell++) {
    for (let level = 0; level < levels; level++, place++) {
      if (set[place] > tokenPrice || refine[place] > tokenPrice) wanted[cell] = 1;
    }
  }
  const setBits = valueCosts(base, values, wanted, tables);
  return { levels, setGain: set, refineGain: refine, setBits, depth };
}

/**
 * What every number of a new gist would spare the model while it lasts.
 *
 * @param {{ gist: Float32Array, gistValues: Uint8Array }} view
 * @param {import("./canvas.js").Canvas} base
 * @param {Float32Array} weights
 * @param {number} lastsS
 * @param {{ ways: number, told: Float32Array, kept: Float32Array }} costs
 * @param {number} noise
 * @returns {GistOffer}
 */
export function gistOfferOf({ gist, gistValues }, base, weights, lastsS, costs, noise) {
  const held = GIST_EDGES[base.gistDepth];
  const gain = renewal(gist, dequantise(gistValues), dequantise(base.gist), held, noise);
  const count = fround(lastsS);
  for (let place = 0; place < gain.length; place++) gain[place] = fround(gain[place] * weights[place]) * count;
  return { gain, edges: GIST_EDGES, ...costs };
}
