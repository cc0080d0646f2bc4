// @ts-check
/** What a session's parts share: configuration, trace, outbox, waiting events, counters. Twin of transport/core.py. */

import { Lane, Outbox } from "./lanes.js";
import { Trace } from "./trace.js";
import { pushPacket } from "./wire.js";

/** @typedef {import("./config.js").SessionConfig} SessionConfig */
/** @typedef {import("./events.js").Event} Event */
/** @typedef {import("./wire.js").Packet} Packet */

/** Plain shared state; the session owns it, its parts use it. */
export class Core {
  /** @type {Event[]} */
  events = [];
  packetsDropped = 0;

  /**
   * @param {SessionConfig} config
   * @param {Trace} trace
   */
  constructor(config, trace) {
    this.config = config;
    this.trace = trace;
    this.outbox = new Outbox(config.outboxLimit);
  }

  /**
   * Trace and count one dropped packet.
   *
   * @param {number} now
   * @param {string} reason
   * @param {Record<string, any>} [data]
   */
  drop(now, reason, data = {}) {
    this.packetsDropped += 1;
    this.trace.drop(now, reason, data);
  }

  /**
   * Queue a packet of the protocol's own.
   *
   * @param {Packet} packet
   * @param {number} now
   * @param {number} [lane]
   */
  control(packet, now, lane = Lane.CONTROL) {
    const deadline = now + this.config.controlDeadline;
    if (!this.outbox.push({ lane, data: pushPacket(packet), deadline, version: null, spare: false })) {
      this.drop(now, "outbox-full", { packet: packet.type.toLowerCase() });
    }
  }
}

/**
 * The smallest of the times that are set.
 *
 * @param {...(number | null)} times
 * @returns {number | null}
 */
export function earliest(...times) {
  return times.reduce((first, time) => (first === null || (time !== null && time < first) ? time : first), null);
}
