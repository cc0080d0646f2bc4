// @ts-nocheck
// A worker that runs the edge on a film as fast as it can, one thread of WASM: what each part of a frame costs, and what
// it makes of every frame. Its session takes all that is sent and has it acknowledged at once, so nothing hangs on time.
//
//   GET frame/K --> ImageBitmap --> pixels --> Sender: look, tell --> POST seen/K: the latents of every cell, the gist
//                                                             +----> postMessage(times, payloads)

import { EdgeEncoder } from "./edge/encoder.js";
import { Tables } from "./edge/entropy.js";
import { makeGrid } from "./edge/canvas.js";
import { build, Network } from "./edge/nets.js";
import { GateNetwork } from "./edge/network.js";
import { Sender } from "./edge/sender.js";

const WARM = 3; // looks that are not counted

/** A session whose other end has everything at once. */
class AtOnce {
  nextVersion = 1;
  payloads = [];

  constructor(maxPayload) {
    this.maxPayload = maxPayload;
  }
  base() {
    return this.nextVersion - 1;
  }
  allowance() {
    return 1e6;
  }
  needed() {
    return new Set([this.nextVersion - 1]);
  }
  sendDelta({ payload }) {
    this.payloads.push(Array.from(payload, (byte) => byte.toString(16).padStart(2, "0")).join(""));
    return this.nextVersion++;
  }
}

/** Adds up what asynchronous methods take, by part. */
class Timer {
  parts = {};
  watch(object, method, part) {
    const work = object[method].bind(object);
    object[method] = async (...args) => {
      const began = performance.now();
      const result = await work(...args);
      this.parts[part] = (this.parts[part] ?? 0) + performance.now() - began;
      return result;
    };
  }
}

async function bytes(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** A frame as a camera's would come: RGB bytes, opaque, in a bitmap. */
async function bitmap(path, width, height) {
  const rgb = await bytes(path);
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    data[to] = rgb[from];
    data[to + 1] = rgb[from + 1];
    data[to + 2] = rgb[from + 2];
  }
  return createImageBitmap(new ImageData(data, width, height), { colorSpaceConversion: "none" });
}

async function film({ width, height, fps, count, maxPayload }) {
  const kernels = await WebAssembly.compile(await bytes(`edge/kernels/${build()}.wasm`));
  const at = (name) => bytes(`weights/${name}`);
  const json = async (name) => JSON.parse(new TextDecoder().decode(await at(name)));
  const about = await json("tokenizer.json");
  const gists = new Network(kernels, await at("gist.onnx"));
  const encoder = new EdgeEncoder(new Network(kernels, await at("encoder.onnx")), gists);
  const network = new GateNetwork(new Network(kernels, await at("gate.onnx")), (await json("gate.json")).wake);
  const timer = new Timer();
  let gist = new Float32Array(0);
  const whole = encoder.gist.bind(encoder);
  encoder.gist = async () => (gist = await whole());
  timer.watch(encoder, "encode", "encode");
  timer.watch(encoder, "gist", "gist");
  timer.watch(network, "judge", "gate");
  const info = { sensitivity: about.sensitivity, gistSensitivity: about.gist_sensitivity };
  const tables = new Tables(await at("tables.bin"));
  const open = () => {
    const session = new AtOnce(maxPayload);
    return new Sender({ grid: makeGrid(width, height), session, encoder, info, tables, network });
  };
  const sheet = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const pixels = (frame) => {
    sheet.drawImage(frame, 0, 0, width, height);
    frame.close();
    return { data: sheet.getImageData(0, 0, width, height).data, width, height, channels: 4 };
  };
  for (let once = 0; once < WARM; once++) {
    const sender = open();
    await sender.look(pixels(await bitmap("frame/0", width, height)), 0);
    await sender.tell(0, 0);
  }
  const sender = open();
  const frames = [];
  for (let number = 0; number < count; number++) {
    const frame = await bitmap(`frame/${number}`, width, height);
    timer.parts = {};
    sender.session.payloads = [];
    const drawn = performance.now();
    const picture = pixels(frame);
    const began = performance.now();
    await sender.look(picture, number / fps);
    const looked = performance.now();
    const step = await sender.tell(number / fps, number / fps);
    const told = performance.now();
    const { encode = 0, gist: second = 0, gate = 0 } = timer.parts;
    const [see, tell] = [looked - began - encode - second, told - looked - gate];
    const ms = { read: began - drawn, encode, gist: second, gate, see, tell };
    frames.push({ ms, looked: step.looked, tokens: step.tokens, payloads: sender.session.payloads });
    if (step.looked) await fetch(`seen/${number}`, { method: "POST", body: new Blob([sender.seen, gist]) });
  }
  return frames;
}

onmessage = async ({ data }) => {
  try {
    postMessage({ frames: await film(data) });
  } catch (error) {
    postMessage({ wrong: String(error?.stack ?? error) });
  }
};
