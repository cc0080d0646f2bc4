// @ts-check
/**
 * Runs the edge's networks: what onnxruntime would be for, at a 300th of its weight on the way and several times its speed here.
 *
 *     .onnx --readOnnx--> graph --folded--> layers, weights packed --for a size--> Plan: calls of kernels/kernels.c
 *                                                                                    |--cut--> shares --> threads (team.js)
 *
 * Layers of integers give what onnxruntime gives, on any machine; the last layers, and the gate's, are floats, and equal to
 * their last places. Only the operators of our own networks are here, in the forms that they have there; others are refused.
 */

import { bytesOf, place, SIZES } from "./arena.js";
import { folded } from "./fold.js";
import { readOnnx } from "./onnx.js";
import { Plan } from "./plan.js";
import { cut } from "./shares.js";
import { unknown } from "./unary.js";

/** @typedef {import("./arena.js").Plane} Plane */
/** @typedef {import("./onnx.js").Step} Step */
/** @typedef {import("./shares.js").Share} Share */

/**
 * Pixels of channels, as they go in and come out: rows, cols and channels. A byte p of a picture is
 * given as p - 128, as the kernels have it, and stands for (p - 127) / 128.
 *
 * @typedef {{ data: Float32Array | Int8Array, dims: readonly number[] }} Pixels
 */

/** @type {Record<string, any>} */
const KINDS = { bytes: Int8Array, floats: Float32Array };
const PAGES = 16; // of memory, to begin with: as the Makefile has it
const MOST_INPUTS = 12288; // of a pixel: the kernels' stack has room for no more

/** A module with one 8-bit dot product, of a byte four times and another: compiles where `relaxed.wasm` does. */
const RELAXED = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 22, 1, 20, 0, 32, 0,
  253, 15, 32, 1, 253, 15, 65, 0, 253, 17, 253, 147, 2, 253, 27, 0, 11,
]);

/**
 * Which of the two builds of the kernels runs here, fastest first. Some engines had the dot product before they had it right.
 *
 * @returns {"relaxed" | "kernels"}
 */
export function build() {
  if (!WebAssembly.validate(RELAXED)) return "kernels";
  const { f } = /** @type {any} */ (new WebAssembly.Instance(new WebAssembly.Module(RELAXED)).exports);
  return f(-127, 126) === 4 * -127 * 126 ? "relaxed" : "kernels";
}

/** A network, ready for the size of inputs that it was run with last. */
export class Network {
  /** @type {any} */ #kernels;
  #memory;
  #team;
  #number; // in the team
  #graph;
  /** @type {Map<Step, any>} */ #weights = new Map();
  /** @type {((inputs: Record<string, Pixels>) => Record<string, Pixels>) | null} */ #plan = null;
  #size = "";
  #base; // where room is free
  #planned = 0; // where the weights end

  /**
   * @param {WebAssembly.Module} kernels
   * @param {Uint8Array} model an ONNX file
   * @param {import("./team.js").Team | null} team threads that run it together, on kernels that share their memory; or this alone
   */
  constructor(kernels, model, team = null) {
    this.#memory = team?.memory(PAGES) ?? new WebAssembly.Memory({ initial: PAGES });
    this.#kernels = new WebAssembly.Instance(kernels, { env: { memory: this.#memory } }).exports;
    this.#base = this.#kernels.__heap_base.value;
    this.#team = team;
    this.#number = team?.join(this.#memory, (bytes) => this.#keep(bytes)) ?? 0;
    this.#graph = folded(readOnnx(model));
    for (const step of this.#graph.steps) if (/Conv|Gemm/.test(step.op)) this.#weights.set(step, this.#packed(step));
    this.#planned = this.#base;
  }

  /**
   * @param {Record<string, Pixels>} inputs
   * @returns {Record<string, Pixels>} copies, the caller's to keep
   */
  run(inputs) {
    const size = JSON.stringify(Object.entries(inputs).map(([name, { data, dims }]) => [name, data.constructor.name, dims]));
    for (const [name, { data, dims }] of Object.entries(inputs)) {
      if (!this.#graph.inputs.includes(name)) throw new RangeError(`${name}: not an input of this network`);
      if (data.length !== dims.reduce((a, b) => a * b)) throw new RangeError(`${name}: ${data.length} numbers, not ${dims}`);
    }
    if (this.#plan === null || size !== this.#size) {
      this.#plan = null; // until there is another: its room is written to
      this.#base = this.#planned;
      this.#plan = this.#made(inputs);
      this.#size = size;
    }
    return this.#plan(inputs);
  }

  /** Room that stays. @param {number} bytes */
  #keep(bytes) {
    const at = Math.ceil(this.#base / 64) * 64;
    this.#base = at + bytes + 64;
    this.#reach(this.#base);
    return at;
  }

  /** @param {number} end */
  #reach(end) {
    const missing = end + 4096 - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / 65536));
  }

  /** @param {any} numbers @returns {number} */
  #stored(numbers) {
    const at = this.#keep(numbers.byteLength);
    new numbers.constructor(this.#memory.buffer, at, numbers.length).set(numbers);
    return at;
  }

  /** Numbers that are stored for one call only. @param {any} numbers @param {(from: number) => void} call */
  #briefly(numbers, call) {
    const base = this.#base;
    call(this.#stored(numbers));
    this.#base = base;
  }

  /** A layer's weights as its kernel reads them. @param {Step} step */
  #packed(step) {
    const integer = step.op === "QLinearConv";
    const { data, dims } = this.#constant(step.inputs[integer ? 3 : 1], step);
    const [outputs, each, high = 1, wide = 1] = dims;
    const { group = 1, dilations = [1, 1], auto_pad: auto = "NOTSET", alpha = 1, beta = 1, transA = 0, transB } = step.attributes;
    const plain = dilations.every((/** @type {number} */ by) => by === 1) && auto === "NOTSET" && alpha === 1 && beta === 1;
    if (!plain || transA !== 0 || (step.op === "Gemm" && transB !== 1)) unknown(step);
    const deep = group > 1;
    if (each * high * wide > MOST_INPUTS) unknown(step);
    if (deep && (each !== 1 || outputs !== group || outputs % (integer ? 8 : 4) !== 0)) unknown(step);
    const pixels = byPixel(data, deep ? 1 : outputs, deep ? outputs : each, high * wide);
    const common = { outputs, each, high, wide, deep };
    if (!integer) {
      const bias = new Float32Array(outputs + 8);
      if (step.inputs[2]) bias.set(this.#constant(step.inputs[2], step).data);
      const numbers = { ...common, bias: this.#stored(bias) };
      if (deep) return { ...numbers, weights: this.#stored(pixels) };
      const weights = this.#keep(Math.ceil(outputs / 8) * 8 * each * high * wide * 4);
      this.#briefly(pixels, (from) => this.#kernels.pack_floats(weights, from, outputs, each * high * wide));
      return { ...numbers, weights };
    }
    if (data.some((/** @type {number} */ weight) => weight < -63 || weight > 63)) {
      throw new Error(`${step.name}: weights of more than 7 bits; export with 7`);
    }
    if (this.#constant(step.inputs[5], step).data.some((/** @type {number} */ zero) => zero !== 0)) unknown(step);
    const [scale, zero, of, toScale, toZero] = [1, 2, 4, 6, 7].map((at) => this.#constant(step.inputs[at], step).data);
    const bias = step.inputs[8] ? this.#constant(step.inputs[8], step).data : new Int32Array(outputs);
    const scales = new Float32Array(outputs + 8);
    const offsets = new Int32Array(outputs + 8);
    const inputs = each * high * wide;
    for (let out = 0; out < outputs; out++) {
      scales[out] = Math.fround(Math.fround(scale[0] * of[of.length > 1 ? out : 0]) / toScale[0]);
      let sum = 0;
      for (let at = 0; at < inputs; at++) sum += data[out * inputs + at];
      offsets[out] = bias[out] + (128 - zero[0]) * sum;
      if ((255 * 63 * inputs + Math.abs(bias[out])) * scales[out] > 2 ** 22) unknown(step); // `finish` could not round it
    }
    const stored = { scales: this.#stored(scales), offsets: this.#stored(offsets), zero: zero[0], toZero: toZero[0] };
    if (deep) return { ...common, ...stored, weights: this.#stored(Int16Array.from(pixels)) };
    const weights = this.#keep(Math.ceil(outputs / 8) * 8 * (inputs + 4) * 2);
    this.#briefly(pixels, (from) => this.#kernels.pack(weights, from, outputs, inputs));
    return { ...common, ...stored, weights };
  }

  /** @param {string} name @param {Step} step @returns {any} */
  #constant(name, step) {
    const found = this.#graph.stored.get(name);
    if (found === undefined) throw new Error(`${step.name}: ${name} must be stored`);
    return found;
  }

  /** What runs inputs of this size. @param {Record<string, Pixels>} inputs */
  #made(inputs) {
    const plan = new Plan(this.#memory, this.#graph, this.#weights, (numbers) => this.#stored(numbers));
    const names = Object.keys(inputs);
    const given = names.map((name) => plan.input(name, inputs[name].data, inputs[name].dims));
    plan.build();
    const outputs = this.#graph.outputs.map((name) => plan.floats(plan.value(name)));
    this.#reach(place(plan.works, given, outputs, this.#base));
    const shares = cut(plan.works, this.#team?.threads ?? 1);
    this.#team?.plan(this.#number, shares);
    const { buffer } = this.#memory; // it grows no more while this is run
    const view = (/** @type {Plane} */ map) => new KINDS[map.kind](buffer, map.at, bytesOf(map) / SIZES[map.kind]);
    const act = (/** @type {Share} */ { does, given }) => (typeof does === "string" ? this.#kernels[does](...given) : does());
    return (/** @type {Record<string, Pixels>} */ now) => {
      given.forEach((map, at) => view(map).set(now[names[at]].data));
      if (this.#team) this.#team.run(this.#number, shares, act);
      else shares.forEach(act);
      const copies = outputs.map((map) => ({ data: view(map).slice(), dims: [map.rows, map.cols, map.channels] }));
      return Object.fromEntries(copies.map((copy, at) => [this.#graph.outputs[at], copy]));
    };
  }
}

/** Weights channel by channel -> pixel by pixel. @param {any} data @param {number} outputs @param {number} each @param {number} pixels */
function byPixel(data, outputs, each, pixels) {
  const out = new data.constructor(data.length);
  for (let of = 0, to = 0; of < outputs; of++) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      for (let at = 0; at < each; at++) out[to++] = data[(of * each + at) * pixels + pixel];
    }
  }
  return out;
}
