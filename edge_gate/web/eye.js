// @ts-check
/**
 * The seeing half of vidtok/live/sender.py: frames in, a view out whenever a frame is worth a closer look.
 *
 *     frame --glance: anything new?--no--> the last view stands
 *       +--encoder--> latents --steady--> view: latents, values, gist, glimpse
 */

import { TICK_S } from "./budget.js";
import { UNSEEN, glance, thumbnail } from "./glance.js";
import { EDGES, GIST, quantise } from "./levels.js";
import { remember, surprise } from "./memory.js";
import { QuietState, novelty, steady } from "./novelty.js";

/** @typedef {import("./canvas.js").Grid} Grid */
/** @typedef {import("./glance.js").GlanceState} GlanceState */
/** @typedef {import("./glance.js").Pixels} Pixels */
/** @typedef {import("./memory.js").Memory} Memory */
/** @typedef {import("./settings.js").SendConfig} SendConfig */

/**
 * What makes latents of pixels: encoder.js's, or a stand-in.
 *
 * @typedef {object} Encoder
 * @property {(pixels: Pixels) => Promise<Float32Array>} encode
 * @property {() => Promise<Float32Array>} gist
 */

/**
 * What ships beside the encoder's weights, of tokenizer.json.
 *
 * @typedef {object} TokenizerInfo
 * @property {ArrayLike<number>} sensitivity how much the model's features depend on each latent
 * @property {ArrayLike<number>} gistSensitivity the same of the gist's latents, in a frame of one cell
 */

/**
 * What the tokenizer saw last.
 *
 * @typedef {object} View
 * @property {Float32Array} latents CHANNELS a cell
 * @property {Uint8Array} values the same, rounded
 * @property {Float32Array} gist latents of the whole frame
 * @property {Uint8Array} gistValues the same, rounded
 * @property {number} gistTimeS when that was made
 * @property {Float32Array} glimpse what the gate's network is told of the look
 */

/**
 * All that the gate knows of the camera between two frames.
 *
 * @typedef {object} GateState
 * @property {QuietState} quiet
 * @property {GlanceState} glance
 * @property {Float32Array | null} latents steadied
 * @property {Memory | null} memory
 * @property {Float32Array | null} busy what `surprise` remembers
 * @property {number} judgedS when that was
 */

/** One camera's looks, and what is remembered of them. */
export class Eye {
  /** @type {View | null} */
  view = null;
  /** Latents at the last look, as they came. @type {Float32Array | null} */
  seen = null;
  /** Whether the newest frame was looked at closely. */
  looked = false;

  #grid;
  #encoder;
  #config;
  /** @type {GateState | null} */
  #gate = null;

  /**
   * @param {Grid} grid
   * @param {Encoder} encoder
   * @param {TokenizerInfo} info
   * @param {SendConfig} config
   */
  constructor(grid, encoder, info, config) {
    this.#grid = grid;
    this.#encoder = encoder;
    this.#config = config;
    this.weights = Float32Array.from(info.sensitivity);
    this.gistWeights = Float32Array.from(info.gistSensitivity).map((each) => each * (grid.rows - 1) * (grid.cols - 1));
  }

  /**
   * How long each cell has shown nothing new.
   *
   * @param {number} timeS
   * @returns {Float32Array}
   */
  quietS(timeS) {
    return (this.#gate ?? this.#unseen(timeS)).quiet.quietS(timeS);
  }

  /**
   * What of each cell's chance of an event is new; it is remembered. What no glance has noticed is no event.
   *
   * @param {Float32Array} event
   * @param {number} timeS
   * @returns {Float32Array}
   */
  surprised(event, timeS) {
    const gate = this.#gate ?? this.#unseen(timeS);
    if (!this.looked || !gate.glance.woken) return new Float32Array(event.length);
    const { fresh, busy } = surprise(event, gate.busy, timeS - gate.judgedS);
    this.#gate = { ...gate, busy, judgedS: timeS };
    return fresh;
  }

  /**
   * Glance; if something may have changed, run the tokenizer.
   *
   * @param {Pixels} pixels filmed `timeS` after the session began
   * @param {number} timeS
   */
  async look(pixels, timeS) {
    const { gate: settings } = this.#config;
    const gate = this.#gate ?? this.#unseen(timeS);
    const glanced = glance(gate.glance, thumbnail(pixels), timeS, settings);
    this.looked = glanced !== null;
    if (glanced === null) return;
    const seen = await this.#encoder.encode(pixels);
    const coming = this.#gist(timeS); // it is made in a thread of its own, while the rest is worked out here
    const { glimpse, memory } = remember(gate.memory, seen, this.#grid, timeS, EDGES);
    const latents = steady(gate.latents, seen, this.weights, settings.jump, settings.blend);
    let { quiet } = gate;
    if (gate.latents !== null) {
      const restless = novelty(latents, gate.latents, null, this.weights, settings);
      quiet = quiet.watched(restless, timeS, settings);
    }
    const { gist, gistTimeS } = await coming;
    this.#gate = { ...gate, quiet, glance: glanced, latents, memory };
    this.seen = seen;
    this.view = { latents, values: quantise(latents), gist, gistValues: quantise(gist), gistTimeS, glimpse };
  }

  /**
   * @param {number} timeS
   * @returns {GateState}
   */
  #unseen(timeS) {
    const quiet = QuietState.start(this.#grid.rows * this.#grid.cols, timeS);
    return { quiet, glance: UNSEEN, latents: null, memory: null, busy: null, judgedS: 0 };
  }

  /**
   * @param {number} timeS
   * @returns {Promise<{ gist: Float32Array, gistTimeS: number }>}
   */
  async #gist(timeS) {
    const { gistS, gistEveryS, gate } = this.#config;
    if (this.view !== null && timeS - this.view.gistTimeS < gistEveryS - TICK_S) return this.view;
    if (gistS <= 0) return { gist: new Float32Array(GIST), gistTimeS: timeS };
    const last = this.view === null ? null : this.view.gist;
    const gist = steady(last, await this.#encoder.gist(), this.gistWeights, gate.gistJump, gate.blend);
    return { gist, gistTimeS: timeS };
  }
}
