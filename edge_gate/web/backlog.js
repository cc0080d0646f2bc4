// @ts-check
/**
 * What an endpoint may still hand to its stack: a late delta is worth nothing, control must leave. Twin of
 * transport/adapters/backlog.py.
 */

import { ConnectionClosed, LocalProtocolError } from "./errors.js";
import { MAX_PACKET } from "./fields.js";
import { Lane } from "./lanes.js";
import { CloseCode } from "./wire.js";

/** Bytes that may wait where deltas do. */
export const MAX_DELTA_BUFFERED = 8 * MAX_PACKET;

/** Bytes that may wait anywhere. */
export const MAX_CONTROL_BUFFERED = 256 * 1024;

/**
 * Whether a packet should join the `buffered` bytes before it; false, and traced, for a delta that would wait.
 * ConnectionClosed when the peer takes not even control packets.
 *
 * @param {number} lane
 * @param {Uint8Array} data
 * @param {number} buffered
 * @param {import("./trace.js").Trace} trace
 * @param {number} now
 * @returns {boolean}
 */
export function maySend(lane, data, buffered, trace, now) {
  if (data.length > MAX_PACKET) {
    throw new LocalProtocolError(`packet of ${data.length} bytes, the limit is ${MAX_PACKET}`);
  }
  if (lane === Lane.DELTA && buffered + data.length > MAX_DELTA_BUFFERED) {
    trace.drop(now, "stack-behind", { size: data.length, buffered });
    return false;
  }
  if (buffered + data.length > MAX_CONTROL_BUFFERED) {
    throw new ConnectionClosed(CloseCode.LINK_LOST, "the peer takes no control packets");
  }
  return true;
}
