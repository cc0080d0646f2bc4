// @ts-check
/** How the edge spends: twin of `SendConfig` in vidtok/live/sender.py. */

import { CAPS } from "./budget.js";
import { LEVELS } from "./levels.js";
import { GATE } from "./novelty.js";

/**
 * @typedef {object} SendConfig
 * @property {import("./budget.js").Caps} caps
 * @property {import("./novelty.js").GateConfig} gate
 * @property {number} price what a thousand bits must spare the model to be worth sending: low is fine, high is coarse
 * @property {number} tokenPrice what a model token must spare the model beside its bits
 * @property {number} levels that a cell is told on at most
 * @property {number} alert what telling of an event is worth beside what it spares the model
 * @property {number} trust what of the seconds that the network expects news to last is counted,
 * @property {number} leastS and what is added to them: what moves on counts too
 * @property {number} firstS without the network: how long news is expected to last when it has just come
 * @property {number} lastS and at most, however long it has stood
 * @property {number} gistS how long a gist is expected to last; 0 sends none
 * @property {number} gistEveryS how often a new one is made at most
 * @property {number} refreshS no cell in sight stays as it was told for longer; 0: as long as it is no news
 */

/** @type {Readonly<SendConfig>} */
export const SEND = Object.freeze({
  caps: CAPS,
  gate: GATE,
  price: 12,
  tokenPrice: 3,
  levels: LEVELS,
  alert: 10,
  trust: 0.3,
  leastS: 4,
  firstS: 3,
  lastS: 8,
  gistS: 6,
  gistEveryS: 0.1,
  refreshS: 0,
});

/**
 * All settings, those not given as they are by default.
 *
 * @param {Partial<SendConfig>} given
 * @returns {Readonly<SendConfig>}
 */
export function settingsOf(given) {
  const settings = Object.freeze({ ...SEND, ...given });
  if (!(settings.refreshS >= 0 && settings.refreshS < Infinity)) {
    throw new RangeError(`refreshS ${settings.refreshS} is not zero or more`);
  }
  return settings;
}
