// @ts-check
/** Every number a session can be tuned by, twin of transport/config.py without what only a receiver heeds. */

import { LocalProtocolError } from "./errors.js";
import { MAX_PACKET } from "./fields.js";
import { MAX_PARTS } from "./wire.js";

const DELTA_HEADER = 8;
const PART_HEADER = 5;
const HASH_BYTES = 4;

/**
 * Times are seconds, rates are bits per second. `new SessionConfig({resumeWithin: 30})` changes some of the defaults,
 * which suit a camera at 10 to 30 frames a second over anything from a LAN to a satellite.
 *
 * `bases` says what a delta may build on: what is assumed to arrive, only what is acknowledged, or whichever the
 * measured loss makes the fresher. `parity` sends each update's bytes once more, folded together: auto does it when
 * something is lost and a round trip is longer than `deltaDeadline`. `resumeWithin`: how long a session waits for a new
 * path when its own is lost; 0 ends it at once.
 */
export class SessionConfig {
  maxPacket = MAX_PACKET;
  // versions
  history = 64;
  maxInFlight = 48;
  /** @type {"auto" | "assumed" | "acknowledged"} */
  bases = "auto";
  hashInterval = 1.0;
  reorderThreshold = 3;
  // deadlines: how long a packet may wait in our own outbox
  deltaDeadline = 0.25;
  anchorDeadline = 1.0;
  controlDeadline = 5.0;
  outboxLimit = 64;
  // timers
  heartbeat = 1.0;
  keepalive = 5.0;
  deadAfter = 15.0;
  handshakeTimeout = 15.0;
  helloInterval = 0.25;
  resumeWithin = 0.0;
  ackDelay = 0.2;
  minTimeout = 0.15;
  initialTimeout = 1.0;
  maxTimeout = 1.0;
  patientRetries = 30;
  // rate
  startRate = 500_000;
  minRate = 1_000;
  maxRate = 5_000_000;
  bucketDepth = 0.2;
  // protection
  /** @type {"auto" | "always" | "never"} */
  parity = "auto";
  // patience
  maxBadPackets = 50;

  /** @param {Partial<SessionConfig>} [changes] */
  constructor(changes = {}) {
    for (const name of Object.keys(changes)) {
      if (!Object.hasOwn(this, name)) throw new LocalProtocolError(`no number of a session is called ${name}`);
    }
    Object.assign(this, changes);
    this.#check();
    Object.freeze(this);
  }

  #check() {
    if (!(64 <= this.maxPacket && this.maxPacket <= MAX_PACKET)) {
      throw new LocalProtocolError(`maxPacket must be 64 to ${MAX_PACKET}, not ${this.maxPacket}`);
    }
    if (!(1 <= this.maxInFlight && this.maxInFlight < this.history && this.history <= 4096)) {
      throw new LocalProtocolError("maxInFlight must be at least 1 and below history, history at most 4096");
    }
    if (!(0 < this.minRate && this.minRate <= this.startRate && this.startRate <= this.maxRate)) {
      throw new LocalProtocolError("rates must be 0 < minRate <= startRate <= maxRate");
    }
    if (!(0 < this.bucketDepth && this.bucketDepth <= 0.2)) {
      throw new LocalProtocolError("bucketDepth must be above 0 and at most 0.2 s");
    }
  }

  /** The largest payload of one packet, with room for header and hash. */
  get maxPayload() {
    return this.maxPacket - DELTA_HEADER - HASH_BYTES;
  }

  /** The largest piece of a payload that takes several packets. */
  get maxPiece() {
    return this.maxPayload - PART_HEADER;
  }

  /** The largest payload of one delta, in as many packets as it takes. */
  get maxUpdate() {
    return this.maxPiece * MAX_PARTS;
  }
}
