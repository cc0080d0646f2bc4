// @ts-check
/**
 * The edge, whole: frames in, patches handed to the transport session. Twin of vidtok/live/sender.py, whose clock is an
 * argument, too.
 *
 *     frame --glance: anything new?--no--> the last view stands
 *       +--encoder--> view: latents, values
 *                                        |
 *     session.base() -> canvas -----------+--> novelty, costs --> budget buys --> diff --> payloads
 *                                                                                     |
 *                                    canvas of every version under way <-- patch <----+
 *
 * The view is compared with the very canvas that the receiver is known (or fairly assumed) to hold, so what a lost
 * packet carried is simply news again.
 *
 * In a browser networks answer later, so that `look`, `tell` and `again` are asynchronous; events may come meanwhile.
 * Each is to be awaited before the next. The camera stands still here: following it and moves are Python's only.
 */

import { Ledger, TICK_S, buy, explain, renew } from "./budget.js";
import { CELL, blank, patch, stateHash, visible } from "./canvas.js";
import { diff, split, tokensOf } from "./codec.js";
import { LocalProtocolError } from "./errors.js";
import { Eye } from "./eye.js";
import { Floor } from "./floor.js";
import { EDGES, LEVELS, dequantise } from "./levels.js";
import { asked } from "./memory.js";
import { coverage, losses, novelty } from "./novelty.js";
import { gainsOf, gistOfferOf, offerOf } from "./offers.js";
import { encodePayload, gistCosts } from "./payload.js";
import { settingsOf } from "./settings.js";
import { NO_WISHES, counts, readWishes, sameWishes } from "./wishes.js";

/** @typedef {import("./budget.js").Allowance} Allowance */
/** @typedef {import("./budget.js").Bought} Bought */
/** @typedef {import("./budget.js").Offer} Offer */
/** @typedef {import("./budget.js").Renewed} Renewed */
/** @typedef {import("./canvas.js").Canvas} Canvas */
/** @typedef {import("./canvas.js").Grid} Grid */
/** @typedef {import("./canvas.js").Patch} Patch */
/** @typedef {import("./entropy.js").Tables} Tables */
/** @typedef {import("./eye.js").Encoder} Encoder */
/** @typedef {import("./eye.js").TokenizerInfo} TokenizerInfo */
/** @typedef {import("./eye.js").View} View */
/** @typedef {import("./glance.js").Pixels} Pixels */
/** @typedef {import("./network.js").Verdict} Verdict */
/** @typedef {import("./novelty.js").Losses} Losses */
/** @typedef {import("./settings.js").SendConfig} SendConfig */

const { ceil, fround, max, min } = Math;

const HEADER_BITS = 8 * 16; // of one packet, at most; always counted in full, so that no decision hangs on the clock
const CONTROL_BITS = 256; // a second, kept free for heartbeats
const FRAME_SHARE = 0.5; // of what is left of the second, for one frame: something is kept for the next
const SMALL_BITS = 800; // of what is left are never divided: even a small cap buys something
const PACKET_BITS = 8 * 40; // what a packet and its acknowledgement cost beside the payload, below the session too
const RENEWAL = 1e4; // what telling a cell anew is worth when it is due: it comes before all else
const PATIENCE_S = 0.5; // until what was not worth telling is weighed again
const TRIES = 4; // at fitting the payload into what may be spent

/**
 * What of a session is used: session.js's, or a stand-in.
 *
 * @typedef {object} SendSession
 * @property {number} maxPayload
 * @property {number} nextVersion
 * @property {(now: number) => number} base
 * @property {(now: number) => number} allowance bytes
 * @property {() => Set<number>} needed
 * @property {(delta: { base: number, payload: Uint8Array, captureMs: number, stateHash: number, now: number }) => number
 *   } sendDelta
 */

/**
 * What gives a verdict on what was asked: network.js's, or a stand-in.
 *
 * @typedef {object} Network
 * @property {(asked: Float32Array, rows: number, cols: number) => Promise<Verdict>} judge
 */

/**
 * What one frame led to: for people, logs and tests.
 *
 * @typedef {object} Step
 * @property {number} version the newest handed to the session
 * @property {boolean} looked the tokenizer ran
 * @property {Float32Array} score novelty of each cell, worked out when it is read
 * @property {Uint8Array} kind what was sent of each cell
 * @property {number} tokens
 * @property {number} payloadBytes
 * @property {number} alarm the chance that something happens: above the network's `wake`, worth waking a model
 */

/**
 * Of what one frame sends, what one packet carries, and the canvas that it leads to.
 *
 * @typedef {object} Part
 * @property {Canvas} after
 * @property {Uint8Array} payload
 */

/** Everything between a frame and the session; the caller moves frames, events and time. */
export class Sender {
  /** The receiver's wishes. @type {import("./wishes.js").Wishes} */
  wishes = NO_WISHES;
  /** Our application's own interest, times the receiver's: more than 1 while someone speaks, say. */
  interest = 1;

  #eye;
  #tables;
  #network;
  #floor;
  /** @type {Map<number, Canvas>} */
  #canvases;
  /** @type {Bought | null} */
  #bought = null;
  /** Of events, of each cell. @type {Float32Array | null} */
  #expected = null;
  /** Nothing to say before `untilS` while all this stands.
   * @type {{ version: number, view: View, interest: number, untilS: number } | null} */
  #settled = null;
  #shown;
  #inSight;
  #counted;
  #visible;
  #alarm = 0;
  #toldS = 0;
  #busy = false;

  /**
   * @param {object} parts
   * @param {Grid} parts.grid
   * @param {SendSession} parts.session
   * @param {Encoder} parts.encoder
   * @param {TokenizerInfo} parts.info
   * @param {Tables} parts.tables
   * @param {Network | null} [parts.network] without one, what has stood is likely to stay, and nothing is an event
   * @param {Partial<SendConfig>} [parts.config]
   */
  constructor({ grid, session, encoder, info, tables, network = null, config = {} }) {
    this.grid = grid;
    this.session = session;
    this.config = settingsOf(config);
    this.ledger = new Ledger(this.config.caps);
    /** The newest that was handed to the session and not given up. @type {Canvas} */
    this.canvas = blank(grid);
    this.#canvases = new Map([[0, this.canvas]]);
    this.#eye = new Eye(grid, encoder, info, this.config);
    this.#tables = tables;
    this.#network = network;
    this.#floor = new Floor(this.config.refreshS);
    this.#shown = coverage(grid, CELL);
    this.#inSight = Uint8Array.from(this.#shown, (share) => Number(share >= fround(this.config.gate.coverage)));
    this.#counted = this.#shown.map((share, cell) => share * this.#inSight[cell]);
    this.#visible = visible(this.canvas);
  }

  /** Whether a look is taken or told of right now. A base that is lost meanwhile needs no `again`: `tell` sees it. */
  get busy() {
    return this.#busy;
  }

  /** What the tokenizer saw last. @returns {View | null} */
  get view() {
    return this.#eye.view;
  }

  /** Latents at the last look, as they came. @returns {Float32Array | null} */
  get seen() {
    return this.#eye.seen;
  }

  /**
   * The canvas of a version that may still be under way.
   *
   * @param {number} version
   * @returns {Canvas | undefined}
   */
  canvasAt(version) {
    return this.#canvases.get(version);
  }

  /**
   * React to what the transport hands up.
   *
   * @param {{ type: string, feedback?: Map<string, any> }} event
   */
  onEvent(event) {
    if (event.type === "FeedbackReceived" && event.feedback) {
      const before = this.wishes;
      this.wishes = readWishes(event.feedback);
      if (!sameWishes(before, this.wishes)) this.#settled = null;
      this.ledger.honour(this.wishes.kbps, this.wishes.tokensPerS);
    } else if (event.type === "BaseLost" || event.type === "Refresh") {
      this.#settled = null;
    }
  }

  /**
   * Glance; if something may have changed, run the tokenizer.
   *
   * @param {Pixels} pixels filmed `timeS` after the session began
   * @param {number} timeS
   */
  look(pixels, timeS) {
    return this.#alone(() => this.#eye.look(pixels, timeS));
  }

  /**
   * Send what the last look found worth it: apart from `look` so that `now`, the session's clock, can be read after
   * that work. The gate's network is asked in here; where the base is lost meanwhile, all is weighed anew.
   *
   * @param {number} timeS
   * @param {number} now
   * @returns {Promise<Step>}
   */
  tell(timeS, now) {
    return this.#alone(() => this.#tell(timeS, now));
  }

  /**
   * What was assumed to arrive did not: tell the last look anew, without waiting for the next.
   *
   * @param {number} now
   * @returns {Promise<Step>}
   */
  again(now) {
    return this.tell(this.#toldS, now);
  }

  /**
   * A `Why` for every cell: why it was or was not told of when cells were last weighed.
   *
   * @returns {Uint8Array}
   */
  explain() {
    if (this.#bought === null || this.#expected === null) {
      throw new LocalProtocolError("explain() before the first frame was told of");
    }
    return explain(this.#bought, this.#expected, this.#inSight);
  }

  /** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  async #alone(work) {
    if (this.#busy) throw new LocalProtocolError("look(), tell() and again() take turns: await the one before");
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
    }
  }

  // -- choosing

  /**
   * @param {number} timeS
   * @param {number} now
   * @returns {Promise<Step>}
   */
  async #tell(timeS, now) {
    this.#toldS = timeS;
    this.#alarm = 0;
    const { view } = this;
    if (view === null) throw new LocalProtocolError("tell() before the first look()");
    const quietS = this.#eye.quietS(timeS);
    let base, loss, said;
    do {
      base = this.#base(now);
      if (this.#isSettled(base, view, timeS)) return this.#report(null, null, 0);
      loss = losses(view.latents, view.values, base, this.#shown, this.#eye.weights, this.config.gate.noise);
      if (this.#network === null) break;
      const question = asked(view.glimpse, loss.missed, base.depth, quietS, this.#shown, EDGES);
      said = await this.#network.judge(question, this.grid.rows, this.grid.cols);
    } while (this.session.base(now) !== base.version);
    const verdict = this.#judge(said, quietS, timeS);
    const gains = this.#gains(base, loss, verdict);
    const left = this.ledger.left(timeS);
    const funds = this.#funds(left, now);
    const due = this.#floor.due(base.changed, this.#inSight, timeS, ceil(funds.tokens / 2));
    for (let place = 0; due !== null && place < gains.set.length; place++) {
      if (due[(place / LEVELS) | 0]) gains.set[place] += RENEWAL;
    }
    const offer = offerOf(gains, this.config.tokenPrice, base, view.values, this.#tables);
    const { edits, parts } = this.#choose(view, base, offer, funds, left);
    if (parts.length === 0) {
      if (funds.bits >= SMALL_BITS / 2 && funds.tokens > 1) this.#settle(base, view, quietS, timeS);
      return this.#report(() => this.#score(view, base), null, 0);
    }
    this.ledger.spend(timeS, wireBits(parts), tokensOf(edits));
    const first = this.session.nextVersion;
    const sent = this.#send(base, parts, timeS, now);
    this.#floor.sent(first, this.session.nextVersion, timeS);
    return this.#report(() => this.#score(view, base), edits, sent);
  }

  /** @param {number} now */
  #base(now) {
    const needed = this.session.needed();
    for (const version of this.#canvases.keys()) {
      if (version !== 0 && !needed.has(version)) this.#canvases.delete(version);
    }
    const version = this.session.base(now);
    const base = this.#canvases.get(version);
    if (base === undefined) throw new LocalProtocolError(`version ${version} is the session's base, but not our own`);
    this.canvas = base;
    return base;
  }

  /** How long news lasts, and where something happens.
   * @param {Verdict | undefined} said @param {Float32Array} quietS @param {number} timeS @returns {Verdict} */
  #judge(said, quietS, timeS) {
    const { firstS, lastS, leastS, trust } = this.config;
    if (said === undefined) {
      const [first, last] = [fround(firstS), fround(lastS)];
      const lastsS = quietS.map((quiet) => min(max(fround(first + quiet), first), last));
      return { lastsS, event: new Float32Array(lastsS.length) };
    }
    const [share, least] = [fround(trust), fround(leastS)];
    const lastsS = said.lastsS.map((each) => fround(share * each) + least);
    const fresh = this.#eye.surprised(said.event, timeS);
    this.#alarm = fresh.reduce((most, chance, cell) => (this.#inSight[cell] ? max(most, chance) : most), 0);
    return { lastsS, event: fresh };
  }

  /** @param {Canvas} base @param {Losses} loss @param {Verdict} verdict */
  #gains(base, loss, verdict) {
    const interest = fround(this.interest);
    const factor = counts(this.wishes, this.#inSight, this.grid, CELL).map((count) => count * interest);
    const gains = gainsOf(loss, verdict, factor, this.#counted, base.depth, this.config);
    this.#expected = gains.alert;
    return gains;
  }

  /** What this frame may spend of what is left, its first header aside.
   * @param {Allowance} left @param {number} now @returns {Allowance} */
  #funds(left, now) {
    const free = left.bits - min(CONTROL_BITS, this.ledger.caps.kbps * 250);
    const most = max(free * FRAME_SHARE, min(free, SMALL_BITS));
    return { bits: min(most, this.session.allowance(now) * 8) - HEADER_BITS, tokens: ceil(left.tokens * FRAME_SHARE) };
  }

  /**
   * What to send, as one patch and as the payloads that carry it; none when nothing is worth sending.
   *
   * @param {View} view
   * @param {Canvas} base
   * @param {Offer} offer
   * @param {Allowance} funds
   * @param {Allowance} left
   * @returns {{ edits: Patch, parts: Part[] }}
   */
  #choose(view, base, offer, { bits, tokens }, left) {
    const price = { bit: this.config.price / 1000, token: this.config.tokenPrice };
    const lastsS = this.config.gistS * this.interest * this.wishes.interest;
    const costs = gistCosts(base, view.gistValues, this.#tables);
    const gistOffer = gistOfferOf(view, base, this.#eye.gistWeights, lastsS, costs, this.config.gate.noise);
    let share = 1;
    for (let tried = 1; ; tried++) {
      const gist = renew(gistOffer, tokens > 0 ? bits * share : 0, price);
      const of = { bits: max(0, bits * share - gist.bits), tokens: tokens - (gist.levels > 0 ? 1 : 0) };
      const bought = buy(offer, of, price, left);
      this.#bought = bought;
      const edits = this.#edits(view, base, bought, gist);
      const worth = bought.surplus + gist.surplus > price.bit * PACKET_BITS;
      if (tokensOf(edits) === 0 || !worth) return { edits, parts: [] };
      const parts = this.#payloads(base, edits);
      if (wireBits(parts) <= bits + HEADER_BITS) return { edits, parts };
      if (tried === TRIES) return { edits, parts: [] };
      share *= 0.8;
    }
  }

  /** @param {View} view @param {Canvas} base @param {Bought} bought @param {Renewed} gist */
  #edits(view, base, { setTo, refineTo }, { told, levels }) {
    const whole = base.gist.map((held, place) => (told[place] ? view.gistValues[place] : held));
    return diff(view.values, base, { setTo, refineTo, gist: whole, gistTo: levels });
  }

  /**
   * The patch as payloads that each fit a packet; each goes on from the canvas the one before it gives.
   *
   * @param {Canvas} base
   * @param {Patch} edits
   * @returns {Part[]}
   */
  #payloads(base, edits) {
    const { maxPayload, nextVersion } = this.session;
    for (let count = 1; ; ) {
      let canvas = base;
      const parts = split(edits, base, count).map((part, number) => {
        const payload = encodePayload(canvas, part, this.#tables);
        canvas = patch(canvas, part, nextVersion + number);
        return { after: canvas, payload };
      });
      const longest = max(...parts.map(({ payload }) => payload.length));
      if (longest <= maxPayload) return parts;
      count += ceil(longest / maxPayload) - 1;
    }
  }

  // -- sending

  /** @param {Canvas} base @param {Part[]} parts @param {number} timeS @param {number} now */
  #send(base, parts, timeS, now) {
    this.canvas = base;
    let sent = 0;
    for (const { after, payload } of parts) {
      if (this.session.allowance(now) <= 0) break;
      const captureMs = wholeNearest(timeS * 1000);
      const told = { base: this.canvas.version, payload, captureMs, stateHash: stateHash(after), now };
      this.#canvases.set(this.session.sendDelta(told), after);
      this.canvas = after;
      sent += payload.length;
    }
    return sent;
  }

  /** @param {Canvas} base @param {View} view @param {number} timeS */
  #isSettled(base, view, timeS) {
    const settled = this.#settled;
    if (settled === null || settled.version !== base.version || settled.view !== view) return false;
    return settled.interest === this.interest && timeS < settled.untilS;
  }

  /** Remember that there is nothing to say until the view or the base changes or has stood for longer.
   * @param {Canvas} base @param {View} view @param {Float32Array} quietS @param {number} timeS */
  #settle(base, view, quietS, timeS) {
    const { lastS, refreshS } = this.config;
    const stands = !refreshS && quietS.every((quiet, cell) => !this.#visible[cell] || quiet >= fround(lastS));
    const untilS = stands ? Infinity : timeS + PATIENCE_S - TICK_S;
    this.#settled = { version: base.version, view, interest: this.interest, untilS };
  }

  /**
   * @param {(() => Float32Array) | null} weighed the score, for whoever wants to see it
   * @param {Patch | null} edits
   * @param {number} payloadBytes
   * @returns {Step}
   */
  #report(weighed, edits, payloadBytes) {
    const cells = this.#shown.length;
    return {
      version: this.canvas.version,
      looked: this.#eye.looked,
      kind: edits === null ? new Uint8Array(cells) : edits.kind,
      tokens: edits === null ? 0 : tokensOf(edits),
      payloadBytes,
      alarm: this.#alarm,
      get score() {
        return weighed === null ? new Float32Array(cells) : weighed();
      },
    };
  }

  /** @param {View} view @param {Canvas} base */
  #score(view, base) {
    const score = novelty(view.latents, dequantise(base.values), base.depth, this.#eye.weights, this.config.gate);
    return score.map((each, cell) => each * this.#counted[cell]);
  }
}

/** @param {Part[]} parts */
function wireBits(parts) {
  return parts.reduce((bits, { payload }) => bits + payload.length * 8 + HEADER_BITS, 0);
}

/**
 * The nearest whole number, the even one of two: as Python rounds.
 *
 * @param {number} number
 * @returns {number}
 */
function wholeNearest(number) {
  const below = Math.floor(number);
  const up = number - below > 0.5 || (number - below === 0.5 && below % 2 === 1);
  return up ? below + 1 : below;
}

/**
 * What the sender's greeting says of its stream.
 *
 * @param {Grid} grid
 * @param {number} fps
 * @param {string} name
 * @returns {Record<string, number | string>}
 */
export function hello({ width, height }, fps, name) {
  return { width, height, fps, source: [...name].slice(0, 80).join("") };
}
