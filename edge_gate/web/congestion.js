// @ts-check
/**
 * How fast may we send? Delay first, loss second, and never more than is known to be there. Twin of
 * transport/congestion.py.
 *
 *     acks --> RttEstimator --> smoothed, minimum -------------------+
 *     acks --> delay (one way, by the receiver's clock) --> queue ---+
 *     acks --> received / lost --> loss, loss that is the radio's ---+-> rate --> token bucket -+
 *     acks --> delivered --------------------------------------------+                          +-> allowance(now)
 *     sends -> under way, buffered below us -----------------------------> window --------------+
 *
 * Once a round trip: a queue that stands brings the rate below what was delivered; loss beyond what the radio always
 * loses brings it down in proportion. Up, quickly while the last ceiling is far, gently near it, and only when the
 * application used what it had: an idle sender learns nothing and must not grow.
 *
 * Both twins compute in the same order, so that their floats are the same to the last bit.
 */

/** @typedef {import("./config.js").SessionConfig} SessionConfig */

const WINDOW = 10.0; // seconds over which the smallest delay counts as the empty path's
const ROUND = 0.1; // the shortest round
const RECENT = 4.0; // seconds that the best delivery counts for
const DELIVERED = 0.5; // seconds over which deliveries are counted
const QUEUE = 0.06; // a standing queue of so many seconds is too much
const LOSS_EXCESS = 0.1;
const LOSS_HOLD = 0.02;
const MIN_SAMPLE = 10;
const SHRINK = 0.85;
const DRAIN = 0.35; // the longer a queue, the more of what is delivered goes into emptying it
const YIELD = 0.7;
const ABOVE = 1.1;
const PATIENCE = 2; // rounds
const GROW_FAR = 1.4;
const GROW_NEAR = 1.06;
const USED = 0.5; // who uses less of the rate is limited by the application
const SPARE = 300; // bytes that may be under way beyond what fills the path, so that small things need not wait
const DEAD_LINK = 32_000; // bits a second: less makes no dead link better
const RADIO = 1 / 8;

/** The smallest of recent samples. */
export class Smallest {
  /** @type {[number, number][]} times and samples */
  #window = [];

  /**
   * Take in one sample.
   *
   * @param {number} sample
   * @param {number} now
   */
  add(sample, now) {
    const window = this.#window;
    while (window.length && window[window.length - 1][1] >= sample) window.pop();
    window.push([now, sample]);
    while (window[0][0] < now - WINDOW) window.shift();
  }

  /** The smallest; null before the first. */
  get value() {
    return this.#window.length ? this.#window[0][1] : null;
  }
}

/** Smoothed round trip and its variation, as in RFC 6298; `minimum` over the last ten seconds. */
export class RttEstimator {
  /** @type {number | null} */
  smoothed = null;
  variation = 0.0;
  #smallest = new Smallest();

  /**
   * Take in one measured round trip.
   *
   * @param {number} sample
   * @param {number} now
   */
  add(sample, now) {
    if (this.smoothed === null) {
      this.smoothed = sample;
      this.variation = sample / 2;
    } else {
      this.variation += (Math.abs(this.smoothed - sample) - this.variation) / 4;
      this.smoothed += (sample - this.smoothed) / 8;
    }
    this.#smallest.add(sample, now);
  }

  /** The smallest recent sample; 0 before the first. */
  get minimum() {
    return this.#smallest.value ?? 0.0;
  }

  /**
   * How long to wait for an acknowledgement, which may be held back, before assuming loss.
   *
   * @param {SessionConfig} config
   * @param {boolean} [held]
   * @returns {number}
   */
  timeout(config, held = true) {
    if (this.smoothed === null) return config.initialTimeout;
    const least = config.minTimeout + Number(held) * config.ackDelay;
    return Math.max(least, this.smoothed + 4 * this.variation + Number(held) * config.ackDelay);
  }
}

/**
 * What one acknowledgement says of the newest version it names: its times, where they are known. `oneWay` is by two
 * clocks: only differences mean anything.
 *
 * @typedef {{roundTrip: number | null, oneWay: number | null}} Arrival
 */

/** Rate, bucket and window; `rate` is in bits per second, `queue` in seconds. */
export class RateController {
  rtt = new RttEstimator();
  loss = 0.0;
  queue = 0.0;
  /** @type {number | null} what the receiver's application takes, bits per second */
  limit = null;
  why = "start";
  #config;
  #radioLoss = 0.0;
  /** @type {[number, number] | null} what was delivered and lost when the rate began to yield */
  #yielding = null;
  #yielded = 0; // rounds since it came down to that
  #oneWay = new Smallest();
  #emptied = new Smallest(); // the same without what each trip took beyond the shortest; negated, for the largest
  /** @type {number | null} */
  #ceiling = null;
  #tokens;
  #filledAt;
  /** @type {[number, number][]} times and bytes */
  #delivered = [];
  #roundStart;
  #used = 0;
  #received = 0;
  #lost = 0;
  /** @type {number[]} */
  #trips = [];
  /** @type {number[]} */
  #queues = [];
  #share = 0.0; // lost in the last round with enough of both
  #tried = false; // whether any loss was measured
  /** @type {[number, number][]} what was delivered by the end of each */
  #rounds = [];

  /**
   * @param {SessionConfig} config
   * @param {number} now
   */
  constructor(config, now) {
    this.#config = config;
    this.rate = config.startRate;
    this.#tokens = this.#depth();
    this.#filledAt = this.#roundStart = now;
  }

  // -- how much

  /** What may leave, bits per second: the network's rate, or less where the receiver takes less. */
  get pace() {
    return this.limit === null ? this.rate : Math.min(this.rate, this.limit);
  }

  #depth() {
    return (this.pace / 8) * this.#config.bucketDepth;
  }

  /** @param {number} now */
  #fill(now) {
    const elapsed = Math.max(0.0, now - this.#filledAt);
    this.#tokens = Math.min(this.#depth(), this.#tokens + (elapsed * this.pace) / 8);
    this.#filledAt = Math.max(now, this.#filledAt);
  }

  /**
   * Bytes that may leave now, with so many under way: never more than the bucket's depth.
   *
   * @param {number} now
   * @param {number} underWay
   * @returns {number}
   */
  allowance(now, underWay) {
    this.#fill(now);
    return Math.max(0, Math.trunc(Math.min(this.#tokens, this.window() - underWay)));
  }

  /** @returns {number} bytes that may be under way at once */
  window() {
    const patience = this.rtt.minimum + this.#config.ackDelay + 2 * QUEUE;
    return (this.pace / 8) * patience + SPARE;
  }

  /**
   * When the next packet may leave (a packet may overdraw the bucket, then it must refill).
   *
   * @param {number} now
   * @returns {number}
   */
  readyAt(now) {
    this.#fill(now);
    if (this.#tokens >= 1) return now;
    return this.pace ? now + ((1.001 - this.#tokens) * 8) / this.pace : now + this.#config.maxTimeout;
  }

  /**
   * Whether it pays to have each arrival told at once, with its clock.
   *
   * @param {number} now
   * @returns {boolean}
   */
  eager(now) {
    const used = (this.#used * 8) / Math.max(now - this.#roundStart, ROUND);
    return used >= (USED / 2) * this.pace || this.queue > QUEUE / 2 || this.loss > LOSS_HOLD / 4;
  }

  // -- what happens

  /**
   * `size` bytes left.
   *
   * @param {number} size
   * @param {number} now
   */
  onSent(size, now) {
    this.#fill(now);
    this.#tokens -= size;
    this.#used += size;
  }

  /**
   * An acknowledgement told of so many versions received (of `size` bytes) and lost, and perhaps of times.
   *
   * @param {number} received
   * @param {number} lost
   * @param {number} size
   * @param {Arrival} arrival
   * @param {number} now
   */
  onAck(received, lost, size, { roundTrip, oneWay }, now) {
    if (roundTrip !== null) {
      this.rtt.add(roundTrip, now);
      this.#trips.push(roundTrip);
    }
    if (oneWay !== null) {
      const beyond = Math.max(0.0, (roundTrip ?? 0.0) - this.rtt.minimum);
      this.#oneWay.add(oneWay, now);
      this.#emptied.add(beyond - oneWay, now);
      this.#queues.push(oneWay - this.#empty());
    }
    this.#delivered.push([now, size]);
    while (this.#delivered[0][0] < now - this.#span()) this.#delivered.shift();
    this.#received += received;
    this.#lost += lost;
    if (now - this.#roundStart >= Math.max(ROUND, this.rtt.minimum)) this.#endRound(now);
  }

  /**
   * The empty path's one way: the least seen, or less where no trip says that its queue lay elsewhere.
   *
   * What a trip takes beyond the shortest may be queue before the receiver, or the acknowledgement was late, on its way
   * or at an end that was busy: the trip that was delayed least knows best.
   */
  #empty() {
    return Math.min(this.#oneWay.value ?? 0.0, -(this.#emptied.value ?? 0.0));
  }

  #span() {
    return Math.max(DELIVERED, 2 * this.rtt.minimum);
  }

  /** @returns {boolean} whether there is a queue on the path */
  standing() {
    return this.queue > QUEUE;
  }

  /**
   * What has been arriving lately, bits per second.
   *
   * @param {number} now
   * @returns {number}
   */
  delivered(now) {
    const span = this.#span();
    const recent = this.#delivered.filter(([time]) => time >= now - span);
    return (recent.reduce((sum, [, size]) => sum + size, 0) * 8) / span;
  }

  /**
   * Nothing was acknowledged for a whole timeout, or `again`: a link that is down once is not yet a full one.
   *
   * @param {number} now
   * @param {boolean} again
   */
  onTimeout(now, again) {
    const least = again ? DEAD_LINK : Math.max(this.#best(), DEAD_LINK);
    this.#set(Math.max(YIELD * this.rate, Math.min(this.rate, least)), "timeout", now);
    this.#startRound(now, false);
  }

  /** @param {number} now */
  #endRound(now) {
    const used = (this.#used * 8) / Math.max(now - this.#roundStart, 1e-9);
    const delivered = this.delivered(now);
    const enough = this.#received + this.#lost >= MIN_SAMPLE;
    if (enough) {
      this.#share = this.#lost / (this.#received + this.#lost);
      this.loss = this.#tried ? this.loss + (this.#share - this.loss) / 4 : this.#share;
      this.#tried = true;
    }
    const before = this.queue;
    this.queue = this.#standing();
    const excess = this.loss - this.#radioLoss;
    // a packet's own time on a slow link is no queue
    const serial = (this.#config.maxPacket * 8) / Math.max(this.rate, 1.0);
    const allowed = QUEUE + Math.min(serial, 0.1);
    if (this.queue > allowed) { // a queue that stands says that what arrives is all that there is room for
      const sure = used >= USED * this.rate || (this.queue > 2 * allowed && before > allowed);
      this.#ceiling = sure ? delivered : this.#ceiling;
      const room = (SHRINK - Math.min(DRAIN, this.queue / 2)) * delivered;
      this.#set(Math.min(this.rate, Math.max(room, sure ? 0.0 : 0.5 * this.rate)), "queue", now);
    } else if (enough && Math.min(excess, this.#share - this.#radioLoss) > LOSS_EXCESS) {
      this.#yieldToLoss(used, now);
    } else {
      if (enough) {
        this.#yielding = null;
        this.#radioLoss += Math.min(0.0, excess) * RADIO;
      }
      const calm = Math.min(this.loss, this.#share) <= this.#radioLoss + LOSS_HOLD;
      if (calm && used >= USED * this.rate && this.queue <= QUEUE / 2) this.#grow(now);
    }
    this.#rounds.push([now, delivered]);
    while (this.#rounds[0][0] < now - RECENT) this.#rounds.shift();
    this.#startRound(now, !enough);
  }

  /** The queue that even this round's luckiest packet met. */
  #standing() {
    if (this.#queues.length) return Math.min(...this.#queues);
    if (this.#trips.length) return Math.max(0.0, Math.min(...this.#trips) - this.rtt.minimum);
    return this.queue;
  }

  /** The most that was delivered lately: an outage tells nothing of the link that comes back. */
  #best() {
    return this.#rounds.reduce((best, [, bps]) => Math.max(best, bps), 0.0);
  }

  /**
   * Down to what did arrive. Loss that halves at least was a bottleneck's; else it is the radio's: let it be.
   *
   * @param {number} used
   * @param {number} now
   */
  #yieldToLoss(used, now) {
    if (this.#yielding === null) {
      this.#yielding = [this.#best(), this.loss];
      this.#yielded = 0;
      this.#set(Math.min(this.rate, Math.max(ABOVE * used, this.#best())), "loss", now);
    }
    const [floor, loss] = this.#yielding;
    if (this.rate > ABOVE * Math.max(floor, this.#config.minRate)) {
      this.#set(Math.max(YIELD * this.rate, floor), "loss", now);
      return;
    }
    this.#yielded += 1;
    if (this.#yielded > PATIENCE) {
      if (this.#share > loss / 2) this.loss = this.#radioLoss = this.#share;
      this.#yielding = null;
    }
  }

  /** @param {number} now */
  #grow(now) {
    const ceiling = this.#ceiling;
    const near = ceiling !== null && 0.8 * ceiling < this.rate && this.rate < 1.2 * ceiling;
    if (ceiling !== null && this.rate >= 1.2 * ceiling) this.#ceiling = null;
    this.#set(this.rate * (near ? GROW_NEAR : GROW_FAR), "room", now);
  }

  /** @param {number} rate @param {string} why @param {number} now */
  #set(rate, why, now) {
    this.#fill(now);
    this.rate = Math.min(this.#config.maxRate, Math.max(this.#config.minRate, rate));
    this.why = why;
  }

  /** @param {number} now @param {boolean} keepCounts */
  #startRound(now, keepCounts) {
    this.#roundStart = now;
    this.#used = 0;
    this.#trips = [];
    this.#queues = [];
    if (!keepCounts) this.#received = this.#lost = 0;
  }
}
