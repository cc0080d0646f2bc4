// The other end of test_javascript_sender.py and test_javascript_gate.py: requests come as lines of JSON, each is
// answered by one.
//
//     {"do": "call", "module": "novelty", "name": "steady", "args": [...]}  -->  {"value": ...} or {"error": name, ...}
//
// What JSON cannot say has a tag, in both directions: {"f4": base64} is a Float32Array and so on by numpy's names,
// {"map": [[key, value], ...]} a Map, {"int": digits} a BigInt, {"float": text} a float of any kind.

import { createInterface } from "node:readline";

import * as budget from "../../edge_gate/web/budget.js";
import * as canvas from "../../edge_gate/web/canvas.js";
import * as codec from "../../edge_gate/web/codec.js";
import * as encoder from "../../edge_gate/web/encoder.js";
import * as entropy from "../../edge_gate/web/entropy.js";
import * as eye from "../../edge_gate/web/eye.js";
import * as floor from "../../edge_gate/web/floor.js";
import * as glance from "../../edge_gate/web/glance.js";
import * as levels from "../../edge_gate/web/levels.js";
import * as memory from "../../edge_gate/web/memory.js";
import { Float } from "../../edge_gate/web/msgpack.js";
import * as network from "../../edge_gate/web/network.js";
import * as novelty from "../../edge_gate/web/novelty.js";
import * as offers from "../../edge_gate/web/offers.js";
import * as payload from "../../edge_gate/web/payload.js";
import * as senders from "../../edge_gate/web/sender.js";
import * as settings from "../../edge_gate/web/settings.js";
import * as sums from "../../edge_gate/web/sums.js";
import * as wishes from "../../edge_gate/web/wishes.js";

const modules = {
  budget, canvas, codec, encoder, entropy, eye, floor, glance, levels, memory, network, novelty, offers, payload,
  sender: senders, settings, sums, wishes,
}; // prettier-ignore

const ARRAYS = { f4: Float32Array, f8: Float64Array, u1: Uint8Array, u4: Uint32Array, i1: Int8Array };

function untagged(_, value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const [entry, ...more] = Object.entries(value);
  if (entry === undefined || more.length) return value;
  const [tag, content] = entry;
  if (tag in ARRAYS) return new ARRAYS[tag](Uint8Array.from(Buffer.from(content, "base64")).buffer);
  if (tag === "map") return new Map(content);
  if (tag === "int") return BigInt(content);
  if (tag !== "float") return value;
  const number = Number(content);
  return Number.isSafeInteger(number) ? new Float(number) : number;
}

function tagged(value) {
  if (typeof value === "number") return Number.isFinite(value) ? value : { float: String(value) };
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(tagged);
  const tag = Object.keys(ARRAYS).find((name) => value instanceof ARRAYS[name]);
  if (tag) return { [tag]: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, tagged(each)]));
}

/** A session that answers as one in Python has answered, and writes down what it is given. */
class Replayed {
  constructor() {
    this.sent = [];
  }

  /** What Python's session said during the next call, and in what order `allowance` said it. */
  answers({ base, needed, nextVersion, maxPayload, allowances }) {
    Object.assign(this, { nextVersion, maxPayload, allowances });
    this.base = () => base;
    this.needed = () => new Set(needed);
    this.sent = [];
  }

  allowance() {
    if (this.allowances.length === 0) throw new Error("allowance() was asked more often than in Python");
    return this.allowances.shift();
  }

  sendDelta(delta) {
    this.sent.push(delta);
    return this.nextVersion++;
  }
}

/** What the encoder and the gate's network in Python gave for the next look and the next question. */
class Said {
  constructor() {
    this.asked = [];
    this.gives = {};
  }

  encode() {
    return this.given("latents");
  }

  gist() {
    return this.given("gist");
  }

  judge(asked, rows, cols) {
    this.asked.push(asked);
    if (this.meanwhile) session.answers(this.meanwhile);
    this.meanwhile = null;
    const { lasts, event } = this.verdict;
    if (event.length !== rows * cols) throw new Error(`a question of ${rows} rows and ${cols} columns`);
    return Promise.resolve({ lastsS: lasts, event });
  }

  given(what) {
    const answer = this.gives[what];
    this.gives[what] = null;
    return answer ? Promise.resolve(answer) : Promise.reject(new Error(`Python did not ask for ${what} here`));
  }
}

/** A network that gives what it is told to, and remembers what it was fed. */
class Fake {
  constructor(gives) {
    this.gives = gives;
    this.fed = [];
  }

  async run(inputs) {
    for (const [name, { data, dims }] of Object.entries(inputs)) this.fed.push({ name, data: data.slice(), dims: [...dims] });
    return this.gives;
  }
}

let tables, sender, session, said;

const doing = {
  tables: ({ bytes }) => {
    tables = new entropy.Tables(bytes);
    return tables.costs;
  },
  call: ({ module, name, args }) => modules[module][name](...args),
  coded: ({ name, args }) => payload[name](...args, tables),
  drive: ({ module, name, args, calls }) => {
    const object = new modules[module][name](...args);
    return calls.map(([method, ...rest]) => object[method](...rest) ?? null);
  },
  memory: ({ looks, grid, edges }) => {
    let last = null;
    return looks.map(({ latents, timeS }) => {
      const { glimpse, memory: after } = memory.remember(last, latents, grid, timeS, edges);
      last = after;
      return { glimpse, usual: after.usual, spread: after.spread, restless: after.restless };
    });
  },
  glances: ({ frames, config }) => {
    let state = glance.UNSEEN;
    return frames.map(({ pixels, now }) => {
      const after = glance.glance(state, glance.thumbnail(pixels), now, config);
      state = after ?? state;
      return after === null ? null : { waitS: after.waitS, woken: after.woken };
    });
  },
  fake_encode: async ({ pixels, outputs }) => {
    const [cells, gist] = [new Fake(outputs.encoder), new Fake(outputs.gist)];
    const edge = new encoder.EdgeEncoder(cells, gist);
    const early = await edge.gist().catch((error) => error.message);
    return { early, latents: await edge.encode(pixels), gist: await edge.gist(), fed: [...cells.fed, ...gist.fed] };
  },
  fake_judge: async ({ asked, rows, cols, outputs }) => {
    const fake = new Fake(outputs.gate);
    const gate = new network.GateNetwork(fake, 0.5);
    return { ...(await gate.judge(asked, rows, cols)), wake: gate.wake, fed: fake.fed };
  },
  start: ({ width, height, info, config, learned }) => {
    [session, said] = [new Replayed(), new Said()];
    sender = new senders.Sender({
      grid: canvas.makeGrid(width, height),
      session,
      encoder: said,
      info,
      tables,
      network: learned ? said : null,
      config,
    });
    return null;
  },
  look: async ({ pixels, timeS, latents, gist, interest }) => {
    said.gives = { latents, gist };
    sender.interest = interest;
    await sender.look(pixels, timeS);
    if (said.gives.latents || said.gives.gist) throw new Error("Python asked the encoder here");
    return { ...sender.view, seen: sender.seen };
  },
  tell: async ({ timeS, now, again, answers, verdict, meanwhile }) => {
    session.answers(answers);
    Object.assign(said, { asked: [], verdict, meanwhile });
    const step = await (again ? sender.again(now) : sender.tell(timeS, now));
    const { values, depth, changed, version } = sender.canvas;
    const { sent, allowances } = session;
    const told = { step, sent, asked: said.asked, why: sender.explain(), unasked: allowances.length };
    return { ...told, canvas: { values, depth, changed, version } };
  },
  event: ({ event }) => {
    sender.onEvent(event);
    return { wishes: sender.wishes, caps: sender.ledger.caps };
  },
  overlapping: async () => {
    const calls = [sender.look({}, 0), sender.tell(0, 0), sender.again(0)];
    const { busy } = sender;
    const [, ...late] = await Promise.allSettled(calls);
    return { errors: late.map(({ reason }) => reason.name), busy: [busy, sender.busy] };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const request = JSON.parse(line, untagged);
    answer = { value: tagged((await doing[request.do](request)) ?? null) };
  } catch (error) {
    answer = { error: error.name, message: error.stack };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
