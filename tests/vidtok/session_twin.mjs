// The other end of test_javascript_session.py; lines.mjs says how it is asked.
//
//     {"do": "open", "options": {...}}               -->  what anyone may read of the new session
//     {"do": "calls", "calls": [[name, {...}], ...]}  -->  of each what it gave or raised, and what may be read then

import { SessionConfig } from "../../edge_gate/web/config.js";
import { RateController } from "../../edge_gate/web/congestion.js";
import { kept } from "../../edge_gate/web/loss.js";
import { Session } from "../../edge_gate/web/session.js";
import { TRANSITIONS } from "../../edge_gate/web/states.js";
import { pullPacket } from "../../edge_gate/web/wire.js";
import { answer, fromBase64, fromObject, toBase64, toObject } from "./lines.mjs";

/** @type {Session} */
let session;

const numbers = (value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);

const readable = () => ({
  state: session.state,
  next_timeout: numbers(session.nextTimeout()),
  bytes: [session.bytesSent, session.bytesReceived],
  packets: [session.packetsSent, session.packetsReceived, session.badPackets, session.packetsDropped],
  queued_bytes: session.queuedBytes,
  path: [session.rtt, session.loss, session.rate],
  next_version: session.nextVersion,
  oldest_needed: session.oldestNeeded(),
  needed: [...session.needed()].sort((one, other) => one - other),
  max_update: session.maxUpdate,
});

const calling = {
  receive_datagram: ({ data, now }) => session.receiveDatagram(data, now).map(fromObject),
  handle_timeout: ({ now }) => session.handleTimeout(now).map(fromObject),
  datagrams_to_send: ({ now }) => session.datagramsToSend(now).map(([lane, data]) => [lane, toBase64(data)]),
  send_delta: (update) => session.sendDelta(update),
  base: ({ now }) => session.base(now),
  allowance: ({ now }) => session.allowance(now),
  path_lost: ({ now, reason }) => session.pathLost(now, reason).map(fromObject),
  path_found: ({ now }) => session.pathFound(now) ?? null,
  path_is_behind: ({ buffered }) => session.pathIsBehind(buffered) ?? null,
  close: ({ code, reason, now }) => session.close(code, reason, now) ?? null,
};

function call([name, words]) {
  let outcome;
  try {
    outcome = { value: calling[name](toObject(words)) };
  } catch (error) {
    outcome = { error: error.name, message: error.message };
  }
  return { ...outcome, ...readable() };
}

const rating = {
  on_ack: (rate, received, lost, size, { round_trip, one_way }, now) =>
    rate.onAck(received, lost, size, { roundTrip: round_trip, oneWay: one_way }, now),
  on_sent: (rate, size, now) => rate.onSent(size, now),
  on_timeout: (rate, again, now) => rate.onTimeout(now, again),
  limit: (rate, limit) => (rate.limit = limit),
};

await answer({
  open: ({ options, config }) => {
    session = new Session({ ...toObject(options), config: toObject(config) });
    return readable();
  },
  calls: ({ calls }) => calls.map(call),
  trace: () => session.trace.events().map(({ time, name, data }) => [time, name, fromObject(data)]),
  transitions: () => TRANSITIONS,
  defaults: () => Object.entries(new SessionConfig()),
  rates: ({ config, calls }) => {
    const rate = new RateController(new SessionConfig(toObject(config)), 2.0);
    return calls.map(([what, ...given]) => {
      rating[what](rate, ...given);
      const now = given.at(-1);
      return [
        rate.rate, rate.why, rate.loss, rate.queue, rate.rtt.smoothed, rate.rtt.minimum, rate.standing(),
        rate.allowance(now, 500), rate.window(), rate.readyAt(now), rate.eager(now), rate.delivered(now),
      ];
    });
  },
  kept: ({ count }) => Array.from({ length: count }, (_, power) => kept(power)),
  wrong: ({ bytes }) => {
    try {
      pullPacket(fromBase64(bytes));
      return "";
    } catch (error) {
      return error.message;
    }
  },
});
