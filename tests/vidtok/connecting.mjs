// The other end of test_javascript_connection.py; lines.mjs says how it is asked. Each story is told what happened in it.
//
// The peer is a stand-in that speaks the protocol's packets: it welcomes, and acknowledges every delta as applied.

import { maySend } from "../../edge_gate/web/backlog.js";
import { Connection } from "../../edge_gate/web/connection.js";
import { ConnectionClosed, PeerError } from "../../edge_gate/web/errors.js";
import { Lane } from "../../edge_gate/web/lanes.js";
import { connector, serve } from "../../edge_gate/web/port.js";
import { REFUSALS, connect, iceServer, offerAddress } from "../../edge_gate/web/rtc.js";
import { Session } from "../../edge_gate/web/session.js";
import { Trace } from "../../edge_gate/web/trace.js";
import { pullPacket, pushPacket } from "../../edge_gate/web/wire.js";
import { answer } from "./lines.mjs";

const CODEC = Uint8Array.of(1, 2, 3);
const clock = () => performance.now() / 1000;
const uncaught = [];
process.on("uncaughtException", (error) => uncaught.push(error.message));

/** An endpoint in memory, with the peer behind it; what arrives there stands in `heard`. */
class Memory {
  onpacket = null;
  onclose = null;
  ondrain = null;
  bufferedAmount = 0;
  closed = false;
  heard = [];

  constructor({ deaf = false } = {}) {
    this.deaf = deaf;
  }

  send(lane, data) {
    if (this.closed) throw new ConnectionClosed(8, "gone");
    const packet = pullPacket(data);
    this.heard.push([packet.type, lane, packet]);
    const reply = this.deaf ? null : this.reply(packet);
    if (reply) queueMicrotask(() => this.onpacket?.(pushPacket(reply)));
  }

  reply({ type, sessionId, resumed, version }) {
    if (type === "Hello") {
      return { type: "Welcome", sessionId, role: "receiver", codecHash: CODEC, features: 15, resumed };
    }
    return type === "Delta" ? { type: "Ack", applied: version, newest: version, received: 2 ** 32 - 1 } : null;
  }

  /** The network takes it away. */
  break(reason) {
    this.closed = true;
    this.onclose?.(reason);
  }

  close() {
    this.closed = true;
  }

  get types() {
    return this.heard.map(([type, lane]) => `${type} ${lane}`);
  }
}

/** A connection over an endpoint, and what it hands up. */
function begin(endpoint, { again = null, config = {}, onEvent = () => {} } = {}) {
  const session = new Session({ codecHash: CODEC, meta: {}, now: clock(), wallMs: 0, config });
  const events = [];
  const hand = (event) => {
    events.push(event);
    onEvent(event, connection);
  };
  const connection = new Connection(session, endpoint, { onEvent: hand, again });
  connection.start();
  return { session, connection, events, types: () => events.map(({ type }) => type) };
}

/** Wait for what must come; the driver's own limit is what ends a wait for ever. */
async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

function send(session, connection) {
  const now = clock();
  const version = session.sendDelta({
    base: session.base(now), payload: Uint8Array.of(7), captureMs: 5, stateHash: 9, now,
  });
  connection.flush();
  return version;
}

/** Keep this thread from all else. */
function busy(ms) {
  for (const end = performance.now() + ms; performance.now() < end; );
}

/** A connection over an endpoint of another thread, which is this one too; `came` runs once that has a packet's time. */
async function apart(came) {
  const channel = new MessageChannel();
  const memory = new Memory();
  serve(channel.port1, async () => memory);
  const endpoint = await connector(channel.port2)();
  const hear = memory.onpacket;
  memory.onpacket = (data) => {
    hear(data);
    came(pullPacket(data));
  };
  const begun = begin(endpoint);
  await until(() => begun.session.state === "open");
  const parted = async () => {
    await begun.connection.close();
    await until(() => memory.closed);
    for (const port of [channel.port1, channel.port2]) port.close();
  };
  return { ...begun, parted };
}

/** What a session makes of the trips that it has measured. */
function measured({ trace, rate, config }) {
  const slow = trace.events("acked").filter(({ data }) => data.rttMs >= BUSY_MS).length;
  return { trips: trace.count("acked"), slow, timeouts: trace.count("timeout"), slower: rate < config.startRate };
}

const RESUMES = { resumeWithin: 20 };
const BUSY_MS = 500; // more than any timeout after the first answer

const stories = {
  async meet() {
    const endpoint = new Memory();
    const { session, connection, types } = begin(endpoint);
    await until(() => session.state === "open");
    send(session, connection);
    await until(() => types().includes("Acknowledged"));
    await connection.close(64, "enough");
    return { events: types(), heard: endpoint.types, state: session.state, closed: endpoint.closed };
  },

  async "heartbeat by timer"() {
    const endpoint = new Memory();
    const { session, connection } = begin(endpoint, { config: { heartbeat: 0.01 } });
    await until(() => endpoint.types.includes("Heartbeat 2"));
    await connection.close();
    const heard = endpoint.heard.length;
    await new Promise((resolve) => setTimeout(resolve, 40));
    return { state: session.state, after: endpoint.heard.length - heard };
  },

  async "a path that is lost, and two refusals"() {
    const [first, second] = [new Memory(), new Memory()];
    let asked = 0;
    const again = async () => {
      if (++asked < 3) throw new PeerError("is full");
      return second;
    };
    const { session, connection, types } = begin(first, { again, config: RESUMES });
    await until(() => session.state === "open");
    const version = send(session, connection);
    await until(() => types().includes("Acknowledged"));
    first.break("the cable");
    await until(() => types().includes("Resumed"));
    const base = session.base(clock()) - version;
    await connection.close();
    const { resumed } = second.heard[0][2];
    return { events: types(), asked, heard: second.types, resumed, base, closed: [first.closed, second.closed] };
  },

  async "a new path that is lost before the welcome"() {
    const endpoints = [new Memory(), new Memory({ deaf: true }), new Memory()];
    let asked = 0;
    const again = async () => endpoints[++asked];
    const { session, connection, types } = begin(endpoints[0], { again, config: RESUMES });
    await until(() => session.state === "open");
    endpoints[0].break("the cable");
    await until(() => endpoints[1].heard.length);
    endpoints[1].break("the cable again");
    await until(() => types().includes("Resumed"));
    await connection.close();
    return { events: types(), asked };
  },

  async "silence on the path"() {
    const [first, second] = [new Memory(), new Memory()];
    const config = { ...RESUMES, deadAfter: 0.05 };
    const { session, connection, types } = begin(first, { again: async () => second, config });
    await until(() => session.state === "open");
    first.deaf = true;
    await until(() => types().includes("Resumed"));
    await connection.close();
    return { events: types().slice(0, 3), closed: first.closed };
  },

  async "nobody connects anew"() {
    const endpoint = new Memory();
    const { session, types, events } = begin(endpoint);
    await until(() => session.state === "open");
    endpoint.break("the cable");
    return { events: types(), last: events.at(-1) };
  },

  async "nobody is there in time"() {
    const again = async () => {
      throw new PeerError("is down");
    };
    const endpoint = new Memory();
    const { session, types, events } = begin(endpoint, { again, config: { resumeWithin: 0.1 } });
    await until(() => session.state === "open");
    endpoint.break("the cable");
    await until(() => session.state === "closed");
    await until(() => types().includes("Closed"));
    return { events: types(), last: events.at(-1) };
  },

  async "an endpoint that comes too late"() {
    const [first, late] = [new Memory(), new Memory()];
    let come = () => {};
    const again = () => new Promise((resolve) => (come = () => resolve(late)));
    const { session, connection } = begin(first, { again, config: RESUMES });
    await until(() => session.state === "open");
    first.break("the cable");
    await new Promise((resolve) => setTimeout(resolve, 5));
    await connection.close();
    come();
    await until(() => late.closed);
    return { heard: late.types };
  },

  async "an application that fails"() {
    const endpoint = new Memory();
    const onEvent = () => {
      throw new Error("a fault of the application's");
    };
    const { session, types } = begin(endpoint, { onEvent });
    await until(() => endpoint.types.includes("Close 0"));
    await until(() => uncaught.length);
    return { events: types(), uncaught, closed: session.closed };
  },

  async "what the stack has not sent yet"() {
    const endpoint = new Memory();
    const { session, connection } = begin(endpoint);
    await until(() => session.state === "open");
    endpoint.bufferedAmount = 100_000;
    send(session, connection);
    const before = endpoint.types.includes("Delta 2");
    const allowance = session.allowance(clock());
    endpoint.bufferedAmount = 0;
    endpoint.ondrain();
    const after = endpoint.types.includes("Delta 2");
    endpoint.bufferedAmount = 1;
    const closing = connection.close();
    const waiting = !endpoint.closed;
    endpoint.bufferedAmount = 0;
    await closing;
    return { before, allowance, after, waiting, closed: endpoint.closed };
  },

  async "a thread that is busy when packets come"() {
    const { session, connection, parted } = await apart(({ type, newest }) => {
      if (type === "Ack" && newest === 2) busy(BUSY_MS);
    });
    for (let version = 1; version < 4; version++) {
      send(session, connection);
      await until(() => session.trace.count("acked") === version);
    }
    await parted();
    return measured(session);
  },

  async "a thread that is busy when packets leave"() {
    const { session, connection, parted } = await apart(() => {});
    for (let version = 1; version < 4; version++) {
      send(session, connection);
      if (version === 2) busy(BUSY_MS);
      await until(() => session.trace.count("acked") === version);
    }
    await parted();
    return measured(session);
  },

  async "across two threads"() {
    const made = [];
    const channel = new MessageChannel();
    serve(channel.port1, async () => {
      made.push(new Memory());
      if (made.length === 2) throw new PeerError("is full: wait");
      if (made.length === 3) throw new Error("a fault");
      return made.at(-1);
    });
    const again = connector(channel.port2);
    const first = await again();
    const refusals = [];
    await again().catch((error) => refusals.push(error instanceof PeerError, error.message));
    await again().catch((error) => refusals.push(error instanceof PeerError, error.message));
    const { session, connection, types } = begin(first, { again, config: RESUMES });
    await until(() => session.state === "open");
    made[0].bufferedAmount = 3;
    send(session, connection);
    const underWay = first.bufferedAmount;
    await until(() => types().includes("Acknowledged"));
    await until(() => first.bufferedAmount === 3);
    made[0].bufferedAmount = 0;
    made[0].ondrain();
    await until(() => first.bufferedAmount === 0);
    made[0].break("the cable");
    await until(() => types().includes("Resumed"));
    let thrown = null;
    try {
      first.send(Lane.CONTROL, new Uint8Array(3));
    } catch (error) {
      thrown = [error.name, error.reason];
    }
    await connection.close(7, "goodbye");
    await until(() => made[3].closed);
    for (const port of [channel.port1, channel.port2]) port.close();
    return { events: types(), refusals, underWay: underWay > 0, thrown, heard: made[3].types };
  },
};

await answer({
  story: ({ name }) => stories[name](),
  may_send: ({ lane, size, buffered }) => {
    const trace = new Trace();
    return [maySend(lane, new Uint8Array(size), buffered, trace, 1.5), trace.drops()];
  },
  refusals: () => REFUSALS,
  ice_server: ({ text }) => iceServer(text),
  offer_address: ({ url, page }) => offerAddress(url, page ?? undefined),
  connect: ({ url }) => connect(url),
});
