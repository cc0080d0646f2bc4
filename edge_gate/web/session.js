// @ts-check
/**
 * The sender's end of one session, sans-IO: bytes in, events out; calls in, bytes out; the clock is always an argument.
 * Twin of transport/session.py.
 *
 *     receiveDatagram(data, now) --> events          sendDelta / close ------------+
 *     handleTimeout(now)         --> events          datagramsToSend(now) <- outbox
 *     nextTimeout()              --> when to call handleTimeout and datagramsToSend again
 *
 * The sender greets, the receiver welcomes or refuses; then deltas and heartbeats flow one way, and acknowledgements,
 * feedback and refresh requests the other. Transitions stand in states.js. Times are seconds. A receiver is not here: a
 * browser only sends.
 */

import { SessionConfig } from "./config.js";
import { Core, earliest } from "./core.js";
import { ConnectionClosed, LocalProtocolError, RemoteProtocolError } from "./errors.js";
import { UnknownTypeError, UnknownVersionError } from "./errors.js";
import { isUnsigned } from "./fields.js";
import { Greeter, hex } from "./greeting.js";
import { ALL_LANES, Lane, Outbox } from "./lanes.js";
import { SenderSide } from "./sending.js";
import { INPUT_OF, Input, State, nextState } from "./states.js";
import { Trace } from "./trace.js";
import { CloseCode, Feature, pullPacket } from "./wire.js";

/** @typedef {import("./events.js").Event} Event */
/** @typedef {import("./fields.js").Values} Values */
/** @typedef {import("./wire.js").Greeting} Greeting */
/** @typedef {import("./wire.js").Packet} Packet */

const CLOSE_REPEATS = 3;

/**
 * What a session is made of: `now` is the time by the caller's clock, in seconds, `wallMs` the wall clock then, in
 * milliseconds since 1970.
 *
 * @typedef {object} Options
 * @property {Uint8Array} codecHash
 * @property {Values} meta
 * @property {number} now
 * @property {number | bigint} wallMs
 * @property {Partial<SessionConfig>} [config] what differs from the defaults
 * @property {Uint8Array | null} [sessionId] 16 random bytes, by default
 * @property {Trace} [trace]
 */

/** The sending end of a synchronised state. Version 0 is the blank state that both ends always hold. */
export class Session {
  bytesSent = 0;
  bytesReceived = 0;
  packetsSent = 0;
  packetsReceived = 0;
  badPackets = 0;
  /** @type {string} */
  #state = State.CONNECTING;
  #core;
  #greeter;
  #sender;
  #now;
  #heardAt;
  #spokeAt;
  #suspendedAt;
  #path = true;
  /** @type {import("./events.js").Closed | null} */
  #closed = null;
  #closesLeft = 0;

  /** @param {Options} options */
  constructor({ codecHash, meta, now, wallMs, config = {}, sessionId = null, trace = new Trace() }) {
    this.config = new SessionConfig(config);
    this.trace = trace;
    this.startedAt = now; // capture times count from there unless the application differs
    this.#greeter = new Greeter(sessionId, codecHash, meta, wallMs, this.config.resumeWithin > 0);
    this.#core = new Core(this.config, this.trace);
    this.#sender = new SenderSide(this.#core, now);
    this.#now = this.#heardAt = this.#spokeAt = this.#suspendedAt = now;
    this.#greeter.start(now);
  }

  // -- what anyone may read

  /** Where the session stands. */
  get state() {
    return this.#state;
  }

  /** The session's id. */
  get sessionId() {
    return this.#greeter.sessionId;
  }

  /** How the session ended, once it has. */
  get closed() {
    return this.#closed;
  }

  /** The largest payload that travels in one packet; `sendDelta` cuts longer ones into several. */
  get maxPayload() {
    return this.config.maxPayload;
  }

  /** The largest payload that `sendDelta` takes: more than a packet's, once the peer is known to join pieces. */
  get maxUpdate() {
    return this.#sender.maxUpdate;
  }

  /** Packets of either direction that were dropped; the trace names the reasons. */
  get packetsDropped() {
    return this.#core.packetsDropped;
  }

  /** The smoothed round trip in seconds; null before the first sample. */
  get rtt() {
    return this.#sender.rate.rtt.smoothed;
  }

  /** The smoothed share of packets lost, 0 to 1. */
  get loss() {
    return this.#sender.rate.loss;
  }

  /** The current rate in bits per second. */
  get rate() {
    return this.#sender.rate.rate;
  }

  /** Bytes that wait in the outbox. */
  get queuedBytes() {
    return this.#core.outbox.queuedBytes();
  }

  /** The version that the next `sendDelta` will be given. */
  get nextVersion() {
    return this.#sender.versions.table.newest + 1;
  }

  // -- bytes in

  /**
   * Take in one datagram, whatever its bytes; returns what it means for the application.
   *
   * @param {Uint8Array} data
   * @param {number} now
   * @param {number} [cameAt] when it came, where the caller was busy then: a round trip ends there
   * @returns {Event[]}
   */
  receiveDatagram(data, now, cameAt = now) {
    const time = this.#tick(now);
    this.bytesReceived += data.length;
    this.packetsReceived += 1;
    const packet = pulled(data);
    if (packet instanceof RemoteProtocolError) this.#onBadPacket(packet, time);
    else this.#onPacket(packet, time, Math.min(cameAt, time));
    return this.#takeEvents();
  }

  /** @param {RemoteProtocolError} error @param {number} now */
  #onBadPacket(error, now) {
    if (error instanceof UnknownTypeError) {
      this.#core.drop(now, "unknown-type", { error: error.message });
      return;
    }
    this.badPackets += 1;
    this.#core.drop(now, "bad-packet", { error: error.message });
    if (this.#state === State.CLOSED) return;
    if (error instanceof UnknownVersionError && this.#state !== State.OPEN) {
      this.#end(Input.FATAL, CloseCode.VERSION_MISMATCH, error.message, now, true);
    } else if (this.badPackets > this.config.maxBadPackets) {
      const reason = `too many bad packets, last: ${error.message}`;
      this.#end(Input.FATAL, CloseCode.PROTOCOL_ERROR, reason, now, true);
    }
  }

  /** @param {Packet} packet @param {number} now @param {number} cameAt */
  #onPacket(packet, now, cameAt) {
    const what = INPUT_OF[packet.type];
    if (nextState(this.#state, what) === null) {
      this.#core.drop(now, "unexpected-packet", { packet: what, state: this.#state });
      this.#repeatClose(now);
      return;
    }
    this.#heardAt = now;
    switch (packet.type) {
      case "Welcome": return this.#onWelcome(packet, now, cameAt);
      case "Ack": return this.#sender.onAck(packet, now, cameAt);
      case "Feedback": return this.#sender.onFeedback(packet.number, /** @type {any} */ (packet.values), now);
      case "RefreshRequest": return this.#sender.onRefreshRequest(packet, now);
      case "Close": return this.#end(Input.CLOSE, packet.code, packet.reason ?? "", now, false);
    }
  }

  /** @param {Greeting} welcome @param {number} now @param {number} cameAt */
  #onWelcome(welcome, now, cameAt) {
    if (this.#greeter.foreign(welcome)) {
      this.#core.drop(now, "foreign-session");
    } else if (this.#state === State.CONNECTING) {
      const refusal = this.#greeter.refusal(welcome);
      if (refusal !== null) {
        this.#end(Input.FATAL, ...refusal, now, true);
        return;
      }
      if (this.#greeter.hellos === 1) this.#sender.rate.rtt.add(Math.max(0.0, cameAt - this.#spokeAt), now);
      this.#open(welcome, now);
    } else if (this.#state === State.SUSPENDED) {
      this.#step(Input.WELCOME);
      this.#greeter.stop();
      this.trace.add(now, "resumed");
      this.#core.events.push({ type: "Resumed" });
      this.#sender.resume(welcome.resumed ?? false, now);
    }
  }

  /** @param {Greeting} welcome @param {number} now */
  #open(welcome, now) {
    this.#step(Input.WELCOME);
    this.#greeter.meet(welcome);
    const { sessionId, meta, wallMs = 0 } = welcome;
    this.trace.add(now, "connected", { sessionId: hex(sessionId) });
    this.#core.events.push({ type: "Connected", sessionId, peer: /** @type {Map<string, any>} */ (meta), wallMs });
    this.#sender.agree(this.#greeter.agreed);
  }

  // -- the path below

  /**
   * The path is gone: wait for a new one, or end, as `resumeWithin` says.
   *
   * @param {number} now
   * @param {string} [reason]
   * @returns {Event[]}
   */
  pathLost(now, reason = "the path was lost") {
    this.#losePath(CloseCode.LINK_LOST, reason, this.#tick(now), false);
    return this.#takeEvents();
  }

  /** @param {number} code @param {string} reason @param {number} now @param {boolean} tell */
  #losePath(code, reason, now, tell) {
    if (this.#state === State.OPEN && this.#greeter.agreed & Feature.RESUME) {
      this.#step(Input.PATH_LOST);
      this.#suspendedAt = now;
      this.#core.outbox.clear(Lane.CONTROL);
      this.trace.add(now, "suspended", { reason });
      this.#core.events.push({ type: "Suspended" });
    } else if (this.#state !== State.SUSPENDED) {
      this.#end(Input.FATAL, code, reason, now, tell);
    }
    this.#path = tell && this.#state === State.CLOSED;
    this.#greeter.stop();
  }

  /** @param {number} now there is a new path: greet over it */
  pathFound(now) {
    const time = this.#tick(now);
    this.#path = true;
    if (this.#state === State.SUSPENDED) this.#greeter.start(time);
  }

  /** @param {number} buffered bytes that were handed down and have not left this machine: `allowance` counts them */
  pathIsBehind(buffered) {
    this.#sender.buffered = buffered;
  }

  // -- calls of the sending application

  /**
   * The version to diff against: normally the newest sent, after a loss the newest acknowledged.
   *
   * @param {number} now
   * @returns {number}
   */
  base(now) {
    const time = this.#tick(now);
    this.#sender.versions.expire(time);
    return this.#sender.base(time);
  }

  /**
   * Queue the patch from `base` and return its new version; `deadline` is a time of the same clock.
   *
   * A payload above `maxPayload` is cut into pieces, each in its own packet; one lost piece loses the version.
   *
   * @param {object} update
   * @param {number} update.base
   * @param {Uint8Array} update.payload
   * @param {number} update.captureMs
   * @param {number | null} update.stateHash
   * @param {number} update.now
   * @param {number} [update.lane]
   * @param {number | null} [update.deadline]
   * @returns {number}
   */
  sendDelta({ base, payload, captureMs, stateHash, now, lane = Lane.DELTA, deadline = null }) {
    const time = this.#tick(now);
    if (this.#closed !== null) throw new ConnectionClosed(this.#closed.code, this.#closed.reason);
    this.#step(Input.SEND_DELTA);
    this.#sender.versions.expire(time);
    return this.#sender.sendDelta({ base, payload, captureMs, stateHash, lane, deadline }, time);
  }

  /**
   * Bytes that the network should take now; 0 says: skip this frame.
   *
   * @param {number} now
   * @returns {number}
   */
  allowance(now) {
    const time = this.#tick(now);
    return this.#state === State.OPEN ? this.#sender.allowance(time) : 0;
  }

  /** @returns {number} every version below this may be forgotten */
  oldestNeeded() {
    return this.#sender.versions.table.oldestNeeded();
  }

  /** @returns {Set<number>} the versions, blank aside, that can still become a base: at most `maxInFlight` and one */
  needed() {
    return this.#sender.versions.table.needed();
  }

  // -- the end

  /**
   * Say goodbye; `Closed` follows as the last event.
   *
   * @param {number} [code]
   * @param {string} [reason]
   * @param {number} [now]
   */
  close(code = CloseCode.NORMAL, reason = "", now = this.#now) {
    if (!isUnsigned(code, 256)) throw new LocalProtocolError(`close code must be 0 to 255, not ${code}`);
    if (this.#state !== State.CLOSED) this.#end(Input.LOCAL_CLOSE, code, reason, this.#tick(now), true);
  }

  /** @param {string} what @param {number} code @param {string} reason @param {number} now @param {boolean} tell */
  #end(what, code, reason, now, tell) {
    if (this.#state === State.CLOSED) return;
    this.#step(what);
    this.#closed = { type: "Closed", code, reason };
    this.#greeter.stop();
    this.#core.outbox = new Outbox(this.config.outboxLimit);
    this.#closesLeft = tell ? CLOSE_REPEATS : 0;
    this.trace.add(now, "closed", { code, reason, by: tell ? "us" : "peer" });
    this.#core.events.push(this.#closed);
    this.#repeatClose(now);
  }

  /** @param {number} now */
  #repeatClose(now) {
    if (this.#closed === null || this.#closesLeft === 0) return;
    this.#closesLeft -= 1;
    this.#core.control({ type: "Close", code: this.#closed.code, reason: this.#closed.reason }, now);
  }

  /** @param {string} what */
  #step(what) {
    const state = nextState(this.#state, what);
    if (state === null) throw new LocalProtocolError(`a sender that is ${this.#state} cannot ${what}`);
    this.#state = state;
  }

  // -- bytes out, and time

  /**
   * What should leave now, control first; deltas only as fast as the rate allows.
   *
   * @param {number} now
   * @returns {[number, Uint8Array][]} lanes and packets
   */
  datagramsToSend(now) {
    const time = this.#tick(now);
    if (!this.#path) return [];
    this.#sender.versions.expire(time);
    this.#queueDue(time);
    /** @type {[number, Uint8Array][]} */
    const out = [];
    for (let item = this.#pop(time); item !== null; item = this.#pop(time)) {
      out.push([item.lane, item.data]);
      this.#spokeAt = time;
      this.packetsSent += 1;
      this.bytesSent += item.data.length;
      if (item.version !== null) this.#sender.onSent(item, time);
    }
    return out;
  }

  /**
   * A packet of `datagramsToSend` had to wait before it left this machine: its way begins so much later.
   *
   * @param {Uint8Array} data the very one
   * @param {number} waitedS
   */
  leftLate(data, waitedS) {
    this.#sender.versions.leftLate(data, waitedS);
  }

  /**
   * The next packet. A heartbeat alone is not paced: the peer must hear of us even where it takes nothing.
   *
   * @param {number} now
   */
  #pop(now) {
    const paced =
      this.#state === State.SUSPENDED ||
      this.#sender.heldUp() ||
      (this.#sender.rate.readyAt(now) > now && this.#core.outbox.hasDeltas());
    return this.#core.outbox.pop(paced ? [Lane.CONTROL] : ALL_LANES);
  }

  /** @param {number} now */
  #queueDue(now) {
    if (this.#greeter.due(now, this.config.helloInterval)) {
      this.#core.control(this.#greeter.hello(this.#state === State.SUSPENDED), now);
    }
    if (this.#state !== State.OPEN) return;
    const { heartbeat, keepalive } = this.config;
    if (now >= this.#spokeAt + heartbeat && this.#core.outbox.length === 0) {
      this.#sender.heartbeat(now, now - this.#heardAt > keepalive + heartbeat);
    }
  }

  /** @returns {number | null} when `handleTimeout` and `datagramsToSend` want to be called; null once it is over */
  nextTimeout() {
    if (this.#core.events.length) return this.#now;
    if (!this.#path) return this.#state === State.CLOSED ? null : this.#deadAt();
    if (this.#state === State.CLOSED) return this.#core.outbox.length ? this.#now : null;
    const side = this.#state === State.OPEN ? this.#sideTimeout() : null;
    const control = this.#core.outbox.queuedBytes(Lane.CONTROL) ? this.#now : null;
    return earliest(this.#greeter.helloAt, this.#deadAt(), side, control);
  }

  #sideTimeout() {
    const idle = this.#core.outbox.length ? null : this.#spokeAt + this.config.heartbeat;
    return earliest(idle, this.#sender.nextTimeout(this.#now));
  }

  #deadAt() {
    if (this.#state === State.OPEN) return this.#heardAt + this.config.deadAfter;
    if (this.#state === State.SUSPENDED) return this.#suspendedAt + this.config.resumeWithin;
    return this.startedAt + this.config.handshakeTimeout;
  }

  /**
   * Do what is due; harmless when nothing is.
   *
   * @param {number} now
   * @returns {Event[]}
   */
  handleTimeout(now) {
    const time = this.#tick(now);
    if (this.#state !== State.CLOSED && time >= this.#deadAt()) this.#giveUp(time);
    if (this.#state === State.OPEN) {
      this.#sender.handleTimeout(time);
      this.#sender.versions.expire(time);
    }
    return this.#takeEvents();
  }

  /** @param {number} now */
  #giveUp(now) {
    if (this.#state === State.SUSPENDED) {
      this.#end(Input.FATAL, CloseCode.LINK_LOST, "no new path in time", now, true);
    } else if (this.#state === State.OPEN) {
      this.#losePath(CloseCode.DEAD_PEER, "nothing heard from the peer", now, true);
    } else {
      this.#end(Input.FATAL, CloseCode.HANDSHAKE_TIMEOUT, "no answer to the greeting", now, true);
    }
  }

  /**
   * Time as the session sees it: it never falls.
   *
   * @param {number} now
   */
  #tick(now) {
    this.#now = Math.max(now, this.#now);
    return this.#now;
  }

  #takeEvents() {
    const events = this.#core.events;
    this.#core.events = [];
    return events;
  }
}

/** @param {Uint8Array} data @returns {Packet | RemoteProtocolError} the packet, or what is wrong with it */
function pulled(data) {
  try {
    return pullPacket(data);
  } catch (error) {
    if (error instanceof RemoteProtocolError) return error;
    throw error;
  }
}
