// @ts-check
/**
 * What one frame could send and what that would spare the model: twin of what vidtok/live/sender.py offers its budget.
 *
 *     losses, how long they last, chances of an event --offerOf--> gain of every edit --buy--> ...
 */

import { GIST_EDGES, dequantise } from "./levels.js";
import { refineGain, renewal, setGain } from "./novelty.js";

/** @typedef {import("./budget.js").GistOffer} GistOffer */
/** @typedef {import("./budget.js").Offer} Offer */

const { fround } = Math;

const FAINT = fround(1.4); // squared distance of a cell of which half of an alert is worth telling; rounding makes 1

/**
 * What every edit would spare the model while it lasts, and what it tells of an event.
 *
 * @param {import("./novelty.js").Losses} losses
 * @param {Float32Array} missed squared distance from what is held, a number a level of each cell
 * @param {import("./network.js").Verdict} verdict
 * @param {Float32Array} factor what everything of a cell counts
 * @param {Float32Array} shown the share of a cell that is in sight
 * @param {Float32Array} setBits
 * @param {Uint8Array} depth
 * @param {import("./settings.js").SendConfig} config
 * @returns {{ offer: Offer, alert: Float32Array }} what of each cell's gain is for the event alone
 */
export function offerOf(losses, missed, { lastsS, event }, factor, shown, setBits, depth, config) {
  const { levels } = losses;
  const offer = { levels, setGain: setGain(losses), refineGain: refineGain(losses, depth), setBits, depth };
  const worth = fround(config.alert);
  const alert = new Float32Array(depth.length);
  for (let cell = 0; cell < depth.length; cell++) {
    const lasts = fround(shown[cell] * fround(lastsS[cell] * factor[cell]));
    const told = fround(fround(shown[cell] * worth) * fround(event[cell] * factor[cell]));
    const [first, end] = [cell * levels, (cell + 1) * levels];
    let all = 0;
    for (let place = first; place < end; place++) all = fround(all + missed[place]);
    const most = fround(all + FAINT);
    let far = 0;
    for (let place = first; place < end; place++) {
      far = fround(far + missed[place]);
      alert[cell] = told * fround(far / most);
      const allowed = place - first < config.levels;
      offer.setGain[place] = allowed ? fround(offer.setGain[place] * lasts) + alert[cell] : 0;
      offer.refineGain[place] = allowed ? offer.refineGain[place] * lasts : 0;
    }
  }
  return { offer, alert };
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
