// @ts-check
/**
 * The sending side of a session: versions, bases, loss, and what the network should take now. Twin of
 * transport/sender.py.
 */

import { RateController } from "./congestion.js";
import { earliest } from "./core.js";
import { LocalProtocolError } from "./errors.js";
import { expand, isUnsigned } from "./fields.js";
import { LANE_NAMES, Lane } from "./lanes.js";
import { Losses } from "./loss.js";
import { inPieces, spare } from "./pieces.js";
import { Versions } from "./versions.js";
import { Feature, LIMIT_KEY, MAX_HOLD_MS, pushPacket } from "./wire.js";

/** @typedef {import("./congestion.js").Arrival} Arrival */
/** @typedef {import("./core.js").Core} Core */
/** @typedef {import("./flight.js").Flight} Flight */
/** @typedef {import("./lanes.js").Item} Item */
/** @typedef {import("./wire.js").Ack} Ack */
/** @typedef {import("./wire.js").Part} Part */

const CAUTIOUS = 0.04; // the chance that a base is missing, from which only acknowledged ones serve
const BOLD = 0.02; // ... and down to which
const PARITY_LOSS = 0.01;
const LOOK_AGAIN = 0.01; // seconds, while the path below is behind

/**
 * One delta to send.
 *
 * @typedef {object} Update
 * @property {number} base
 * @property {Uint8Array} payload
 * @property {number} captureMs
 * @property {number | null} stateHash
 * @property {number} lane
 * @property {number | null} deadline a time of the session's clock
 */

/**
 * Chains versions while that is safe, else builds on the newest acknowledged one: what was assumed to arrive and did
 * not costs a round trip; building on acknowledged versions only costs bits.
 */
export class SenderSide {
  buffered = 0; // bytes that the path below has not sent yet
  #core;
  #config;
  #table;
  #backoff = 0;
  /** @type {number | null} */
  #hashSentAt = null;
  #probedAt;
  /** @type {number | null} */
  #probe = null;
  #refreshServed = 0;
  #feedbackSeen = -1;
  #features = 0;
  #clockMs = 1 << 16;
  #clockAt;
  #progressAt; // when something was acknowledged last
  #losses = new Losses();
  #cautious;

  /**
   * @param {Core} core
   * @param {number} now
   */
  constructor(core, now) {
    this.#core = core;
    this.#config = core.config;
    this.versions = new Versions(core);
    this.#table = this.versions.table;
    this.rate = new RateController(core.config, now);
    this.#probedAt = this.#clockAt = this.#progressAt = now;
    this.#cautious = core.config.bases === "acknowledged";
  }

  /** @param {number} features what both ends can do */
  agree(features) {
    this.#features = features;
  }

  // -- what the application asks

  /**
   * The version to diff against now.
   *
   * @param {number} now
   * @returns {number}
   */
  base(now) {
    return this.#cautious || this.#doubtful(now) ? this.#table.acked : this.#table.tip;
  }

  /**
   * Whether an answer is overdue, though not by so much that all under way counts as lost.
   *
   * @param {number} now
   */
  #doubtful(now) {
    if (this.#config.bases !== "auto" || this.rate.rtt.smoothed === null || !this.#table.acked) return false;
    const waiting = this.#table.waiting();
    const soon = Math.max(this.#config.minTimeout, this.rate.rtt.smoothed) + this.#config.ackDelay;
    return waiting.length > 0 && now - (waiting[0].sentAt || now) > soon;
  }

  /** The largest payload of one delta. */
  get maxUpdate() {
    return this.#features & Feature.PARTS ? this.#config.maxUpdate : this.#config.maxPayload;
  }

  /** @returns {boolean} whether the path below is behind by more than a packet and a twentieth of a second */
  heldUp() {
    return this.buffered > this.#config.maxPacket + (this.rate.pace / 8) * 0.05;
  }

  /**
   * Bytes that may be handed to `sendDelta` now.
   *
   * @param {number} now
   * @returns {number}
   */
  allowance(now) {
    if (this.versions.blocked()) return 0;
    const queued = this.#core.outbox.queuedBytes(Lane.ANCHOR, Lane.DELTA);
    const left = this.rate.allowance(now, this.#table.underWay()) - queued - this.buffered;
    const room = this.#core.outbox.room(Lane.ANCHOR, Lane.DELTA) - 1; // packets, and one for parity
    const least = Math.min(left, room * this.#config.maxPiece);
    return Math.max(0, this.#protects() ? Math.floor(least / 2) : least);
  }

  /**
   * Queue one delta and return its version.
   *
   * @param {Update} update
   * @param {number} now
   * @returns {number}
   */
  sendDelta(update, now) {
    this.#check(update);
    const { base, payload, captureMs, stateHash, lane } = update;
    const pieces = inPieces(payload, this.#config, this.#protects());
    const { version, answer } = this.#open(update, pieces, now);
    const shown = this.#hashIsDue(lane, now) ? stateHash : null;
    if (shown !== null) this.#hashSentAt = now;
    const deadline = this.#deadline(update, now);
    const head = { captureMs, stateHash: shown, anchor: lane === Lane.ANCHOR, answer };
    for (const [part, piece] of pieces) {
      const distance = base ? version - base : 0;
      const data = pushPacket({ type: "Delta", version, distance, payload: piece, part, ...head });
      if (this.#core.outbox.push({ lane, data, deadline, version, spare: spare(part) })) continue;
      this.#core.drop(now, "outbox-full", { version });
      this.versions.neverSent(new Set([version]), now);
      break;
    }
    return version;
  }

  /** @param {Update} update @param {[Part | null, Uint8Array][]} pieces @param {number} now @returns {Flight} */
  #open({ base, stateHash, lane }, pieces, now) {
    const size = pieces.reduce((sum, [, piece]) => sum + piece.length, 0);
    const flight = this.#table.open(base, size, stateHash);
    flight.answer = this.#wantsAnswer(lane, now);
    flight.packets = pieces.filter(([part]) => !spare(part)).length;
    return flight;
  }

  /** Whether each update is worth its bytes again: what is lost would come back too late. */
  #protects() {
    if (!(this.#features & Feature.PARITY) || this.#config.parity === "never") return false;
    if (this.#core.outbox.queuedBytes(Lane.ANCHOR, Lane.DELTA)) return false; // what waits for room has none to spare
    if (this.#config.parity === "always") return true;
    const late = (this.rate.rtt.smoothed ?? 0.0) > this.#config.deltaDeadline;
    return late && this.#losses.spared > PARITY_LOSS;
  }

  /** @param {number} lane @param {number} now */
  #wantsAnswer(lane, now) {
    if (!(this.#features & Feature.CLOCK) || lane === Lane.ANCHOR) return false;
    return this.#cautious || this.#backoff > 0 || this.rate.eager(now);
  }

  /** @param {Update} update */
  #check({ base, payload, stateHash, lane }) {
    if (!this.#table.usable(base)) {
      throw new LocalProtocolError(`version ${base} is no usable base now, base() says ${this.#table.tip}`);
    }
    if (payload.length > this.maxUpdate) {
      throw new LocalProtocolError(
        `payload of ${payload.length} bytes, the limit is ${this.maxUpdate}: split the patch into several versions`,
      );
    }
    if (lane === Lane.CONTROL) {
      throw new LocalProtocolError("deltas travel on the anchor or the delta lane, not on control");
    }
    if (stateHash !== null && !isUnsigned(stateHash, 2 ** 32)) {
      throw new LocalProtocolError(`state_hash must fit 32 bits, not ${stateHash}`);
    }
    if (this.versions.blocked()) {
      throw new LocalProtocolError("too many versions under way; send nothing while allowance() is 0");
    }
  }

  /** @param {number} lane @param {number} now */
  #hashIsDue(lane, now) {
    return this.#hashSentAt === null || lane === Lane.ANCHOR || now - this.#hashSentAt >= this.#config.hashInterval;
  }

  /** @param {Update} update @param {number} now */
  #deadline({ lane, deadline }, now) {
    return deadline ?? now + (lane === Lane.ANCHOR ? this.#config.anchorDeadline : this.#config.deltaDeadline);
  }

  // -- what leaves

  /**
   * A delta left the outbox.
   *
   * @param {Item} item
   * @param {number} now
   */
  onSent(item, now) {
    this.rate.onSent(item.data.length, now);
    const flight = this.versions.left(item, now);
    if (flight === null) return;
    const { version, base, size } = flight;
    this.#core.trace.add(now, "sent", { version, base, size, lane: LANE_NAMES[item.lane] });
  }

  /**
   * Say what the receiver should be showing; when blocked, ask about the newest version instead.
   *
   * @param {number} now
   * @param {boolean} [ask]
   */
  heartbeat(now, ask = false) {
    const blocked = this.versions.blocked();
    const version = blocked ? this.#table.newest : this.#table.tip;
    const stateHash = blocked || !version ? null : this.#table.tipHash();
    if (blocked) this.#probe = version;
    this.#probedAt = now;
    const answer = ask || blocked;
    this.#core.control({ type: "Heartbeat", version: version || null, stateHash, answer }, now, Lane.DELTA);
  }

  // -- what arrives

  /**
   * Learn what arrived, what was applied, what is lost.
   *
   * @param {Ack} ack
   * @param {number} now
   * @param {number} cameAt where that was sooner
   */
  onAck(ack, now, cameAt) {
    const near = this.#table.newest;
    const [applied, newest] = [ack.applied, ack.newest].map((low) => (low == null ? 0 : expand(low, near)));
    if (Math.max(applied, newest) > near) {
      this.#core.drop(now, "ack-of-unsent-version", { applied, newest });
      return;
    }
    const before = this.#table.tip;
    const missing = ack.missing ?? null;
    this.#learnArrivals(ack, newest, now, cameAt);
    if (this.#table.knows(applied)) {
      if (this.#table.applied(applied)) this.#core.events.push({ type: "Acknowledged", version: applied });
    } else if (missing !== null || this.#table.waiting().length === 0) { // nothing will bring it back to what we know
      this.versions.restart("the receiver shows a version that was given up", now);
    }
    if (missing !== null) this.#learnMissing(expand(missing, near), now);
    this.versions.tellIfMoved(before, "acknowledgement", now);
  }

  /** @param {Ack} ack @param {number} newest @param {number} now @param {number} cameAt */
  #learnArrivals(ack, newest, now, cameAt) {
    if (!newest) return;
    const received = this.#table.markReceived(newest, ack.received ?? 0);
    const lost = this.#table.markLost(newest, this.#config.reorderThreshold);
    if (received.length) {
      this.#backoff = 0;
      this.#progressAt = now;
    }
    for (const { version } of lost) this.#core.trace.add(now, "lost", { version });
    this.versions.giveUp(numbers(lost), now);
    const arrival = this.#arrival(received, newest, ack, cameAt);
    const size = received.reduce((sum, flight) => sum + flight.size, 0);
    const before = this.rate.rate;
    this.rate.onAck(received.length, lost.length, size, arrival, now);
    this.#traceRate(before, now);
    if (received.length) {
      const rttMs = arrival.roundTrip === null ? null : arrival.roundTrip * 1000;
      this.#core.trace.add(now, "acked", { version: newest, rttMs, queueMs: this.rate.queue * 1000 });
    }
    this.#losses.learn(received.length, lost.length);
    this.#choose();
  }

  /** @param {number} before @param {number} now */
  #traceRate(before, now) {
    if (this.rate.rate !== before) this.#core.trace.add(now, "rate", { bps: this.rate.rate, why: this.rate.why });
  }

  /** Choose what to build on: with so much under way, how likely is a base missing? */
  #choose() {
    if (this.#config.bases !== "auto") return;
    const risk = this.#losses.share * (this.#table.waiting().length + 2);
    this.#cautious = risk > (this.#cautious ? BOLD : CAUTIOUS);
  }

  /**
   * The times of the newest version, if this is its first acknowledgement and its hold is known.
   *
   * @param {Flight[]} received
   * @param {number} newest
   * @param {Ack} ack
   * @param {number} cameAt
   * @returns {Arrival}
   */
  #arrival(received, newest, { holdMs = 0, clockMs = null }, cameAt) {
    const last = received.at(-1);
    if (last?.version !== newest || holdMs >= MAX_HOLD_MS || last.sentAt === null) {
      return { roundTrip: null, oneWay: null };
    }
    let oneWay = null;
    if (clockMs !== null) {
      const expected = this.#clockMs + Math.trunc((cameAt - this.#clockAt) * 1000);
      this.#clockMs = expand(clockMs, expected);
      this.#clockAt = cameAt;
      oneWay = this.#clockMs / 1000 - last.sentAt;
    }
    return { roundTrip: Math.max(0.0, cameAt - last.sentAt - holdMs / 1000), oneWay };
  }

  /** @param {number} missing @param {number} now */
  #learnMissing(missing, now) {
    if (missing === this.#probe) { // what is still in the table was not applied when this was said
      this.versions.giveUp([missing], now);
      this.#table.resolve(missing);
      this.#probe = null;
    } else if (missing > this.#table.acked && this.#table.get(missing) !== null) {
      this.versions.giveUp([missing], now);
    }
  }

  /**
   * Begin again from blank, once per request number.
   *
   * @param {import("./wire.js").RefreshRequest} request
   * @param {number} now
   */
  onRefreshRequest({ number, reason = "" }, now) {
    if (number <= this.#refreshServed) {
      this.#core.drop(now, "refresh-served", { number });
      return;
    }
    this.#refreshServed = number;
    this.#beginAnew("refresh", reason, now);
  }

  /** @param {string} why @param {string} reason what the application is told @param {number} now */
  #beginAnew(why, reason, now) {
    this.versions.restart(why, now);
    this.#core.events.push({ type: "Refresh", reason });
  }

  /**
   * Hand up the newest feedback.
   *
   * @param {number} number
   * @param {Map<string, any>} said
   * @param {number} now
   */
  onFeedback(number, said, now) {
    if (number <= this.#feedbackSeen) {
      this.#core.drop(now, "old-feedback", { number });
      return;
    }
    this.#feedbackSeen = number;
    const feedback = new Map(said);
    if (feedback.delete(LIMIT_KEY)) this.#heedLimit(said.get(LIMIT_KEY), now);
    if (feedback.size || !said.size) this.#core.events.push({ type: "FeedbackReceived", feedback });
  }

  /** @param {any} limit @param {number} now */
  #heedLimit(limit, now) {
    const number = typeof limit === "bigint" || typeof limit === "number" || limit instanceof Number;
    if (limit !== null && !(number && Number(limit) >= 0)) {
      this.#core.drop(now, "bad-limit", { limit: String(limit).slice(0, 40) });
      return;
    }
    this.rate.limit = limit === null ? null : Number(limit);
    this.#core.trace.add(now, "limit", { bps: this.rate.limit });
  }

  /**
   * Over a new path: what was under way is given up; so is all, where the receiver holds nothing more.
   *
   * @param {boolean} held
   * @param {number} now
   */
  resume(held, now) {
    const before = this.#table.tip;
    this.versions.discard(() => true, "path-lost", now);
    this.#backoff = 0;
    if (held) {
      const unsent = this.#table.neverLeft();
      this.versions.giveUp([...numbers(this.#table.waiting()), ...unsent], now);
      this.#table.forget(unsent);
      this.versions.tellIfMoved(before, "resumed", now);
    } else {
      this.#refreshServed = 0; // whose they were is gone
      this.#feedbackSeen = -1;
      this.rate.limit = null;
      this.#beginAnew("the receiver began anew", "the receiver began anew", now);
    }
  }

  // -- time

  #timeoutAt() {
    const waiting = this.#table.waiting();
    if (waiting.length === 0) return null;
    let wait = this.rate.rtt.timeout(this.#config, !waiting[0].answer);
    if (!this.#table.acked) wait = Math.max(wait, this.#config.initialTimeout); // the receiver may still be starting
    if (this.#backoff > this.#config.patientRetries) wait = Math.max(wait, this.#config.maxTimeout);
    const since = waiting[0].sentAt ?? 0.0;
    return (this.rate.standing() ? Math.max(since, this.#progressAt) : since) + wait; // in a queue others come out of
  }

  #probeAt() {
    if (!this.versions.blocked()) return null;
    return this.#probedAt + Math.max(this.rate.rtt.timeout(this.#config), this.#config.maxTimeout / 2);
  }

  /**
   * When something here is due.
   *
   * @param {number} now
   * @returns {number | null}
   */
  nextTimeout(now) {
    const outbox = this.#core.outbox;
    let ready = outbox.queuedBytes(Lane.ANCHOR, Lane.DELTA) ? this.rate.readyAt(now) : null;
    if (ready !== null && this.heldUp()) ready = Math.max(ready, now + LOOK_AGAIN);
    return earliest(this.#timeoutAt(), this.#probeAt(), outbox.nextDeadline(), ready);
  }

  /**
   * Give up on what has not been acknowledged in time; ask when blocked.
   *
   * @param {number} now
   */
  handleTimeout(now) {
    const due = this.#timeoutAt();
    if (due !== null && now >= due) this.#onTimeout(now);
    const probe = this.#probeAt();
    if (probe !== null && now >= probe) this.heartbeat(now);
  }

  /** @param {number} now */
  #onTimeout(now) {
    const before = this.#table.tip;
    const waiting = this.#table.waiting();
    this.#core.trace.add(now, "timeout", { versions: waiting.length, backoff: this.#backoff });
    this.versions.giveUp(numbers(waiting), now);
    const rate = this.rate.rate;
    this.rate.onTimeout(now, this.#backoff > 0);
    this.#traceRate(rate, now);
    this.#backoff += 1;
    this.versions.tellIfMoved(before, "timeout", now);
  }
}

/** @param {Flight[]} flights @returns {number[]} their versions */
function numbers(flights) {
  return flights.map(({ version }) => version);
}
