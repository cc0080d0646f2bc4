// @ts-check
/**
 * Runs the edge's networks: what onnxruntime would be for, at a 400th of its weight and several times its speed here.
 *
 *     .onnx --readOnnx--> graph --folded--> layers, weights packed --for a size--> Plan: calls of kernels/kernels.c
 *
 * The values are onnxruntime's, whatever the machine: sums are of integers, but for the last. Only the operators of our own
 * networks are here; another network is told so.
 */

import { bytesOf, place, SIZES } from "./arena.js";
import { folded } from "./fold.js";
import { readOnnx } from "./onnx.js";
import { Plan, unknown } from "./plan.js";

/** @typedef {import("./arena.js").Plane} Plane */
/** @typedef {import("./onnx.js").Step} Step */

/**
 * Pixels of channels, as they go in and come out: rows, cols and channels. A byte p of a picture is
 * given as p - 128, as the kernels have it, and stands for (p - 127) / 128.
 *
 * @typedef {{ data: Float32Array | Int8Array, dims: readonly number[] }} Pixels
 */

/** @type {Record<string, any>} */
const KINDS = { bytes: Int8Array, floats: Float32Array };

/** A module with one 8-bit dot product: compiles where `relaxed.wasm` does. */
const RELAXED = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 0, 253, 15, 65, 0, 253, 15, 65,
  0, 253, 15, 253, 147, 2, 11,
]);

/**
 * Which of the two builds of the kernels runs here, fastest first.
 *
 * @returns {"relaxed" | "kernels"}
 */
export function build() {
  return WebAssembly.validate(RELAXED) ? "relaxed" : "kernels";
}

/** A network, ready for the size of inputs that it was run with last. */
export class Network {
  /** @type {any} */ #kernels;
  #graph;
  /** @type {Map<Step, any>} */ #weights = new Map();
  /** @type {((inputs: Record<string, Pixels>) => Record<string, Pixels>) | null} */ #plan = null;
  #size = "";
  #base; // where room is free: after the weights,
  #planned = 0; // and where that of the plan begins

  /**
   * @param {WebAssembly.Module} kernels
   * @param {Uint8Array} model an ONNX file
   */
  constructor(kernels, model) {
    this.#kernels = new WebAssembly.Instance(kernels).exports;
    this.#base = this.#kernels.__heap_base.value;
    this.#graph = folded(readOnnx(model));
    for (const step of this.#graph.steps) if (/Conv|Gemm/.test(step.op)) this.#weights.set(step, this.#packed(step));
    this.#planned = this.#base;
  }

  /**
   * @param {Record<string, Pixels>} inputs
   * @returns {Record<string, Pixels>} copies, the caller's to keep
   */
  run(inputs) {
    const size = JSON.stringify(Object.values(inputs).map(({ dims }) => dims));
    if (this.#plan === null || size !== this.#size) {
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
    const missing = end + 4096 - this.#kernels.memory.buffer.byteLength;
    if (missing > 0) this.#kernels.memory.grow(Math.ceil(missing / 65536));
  }

  /** @param {any} numbers @returns {number} */
  #stored(numbers) {
    const at = this.#keep(numbers.byteLength);
    new numbers.constructor(this.#kernels.memory.buffer, at, numbers.length).set(numbers);
    return at;
  }

  /** A layer's weights as its kernel reads them. @param {Step} step */
  #packed(step) {
    const integer = step.op === "QLinearConv";
    const { data, dims } = this.#constant(step.inputs[integer ? 3 : 1], step);
    const [outputs, each, high = 1, wide = 1] = dims;
    const deep = (step.attributes.group ?? 1) > 1;
    if (deep && (each !== 1 || outputs !== step.attributes.group || outputs % (integer ? 8 : 4) !== 0)) unknown(step);
    const pixels = byPixel(data, deep ? 1 : outputs, deep ? outputs : each, high * wide);
    const common = { outputs, each, high, wide, deep };
    if (!integer) {
      const bias = new Float32Array(outputs + 8);
      if (step.inputs[2]) bias.set(this.#constant(step.inputs[2], step).data);
      let weights = this.#stored(pixels);
      if (!deep) {
        const from = weights;
        weights = this.#keep(Math.ceil(outputs / 8) * 8 * each * high * wide * 4);
        this.#kernels.pack_floats(weights, from, outputs, each * high * wide);
      }
      return { ...common, weights, bias: this.#stored(bias) };
    }
    if (data.some((/** @type {number} */ weight) => weight < -63 || weight > 63)) {
      throw new Error(`${step.name}: weights of more than 7 bits; export with 7`);
    }
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
    let weights;
    if (deep) weights = this.#stored(Int16Array.from(pixels));
    else {
      const from = this.#stored(pixels);
      weights = this.#keep(Math.ceil(outputs / 8) * 8 * (inputs + 4) * 2);
      this.#kernels.pack(weights, from, outputs, inputs);
    }
    const numbers = { scales: this.#stored(scales), offsets: this.#stored(offsets), zero: zero[0], toZero: toZero[0] };
    return { ...common, weights, ...numbers };
  }

  /** @param {string} name @param {Step} step @returns {any} */
  #constant(name, step) {
    const found = this.#graph.stored.get(name);
    if (found === undefined) throw new Error(`${step.name}: ${name} must be stored`);
    return found;
  }

  /** What runs inputs of this size. @param {Record<string, Pixels>} inputs */
  #made(inputs) {
    const plan = new Plan(this.#kernels, this.#graph, this.#weights, (numbers) => this.#stored(numbers));
    const names = Object.keys(inputs);
    const given = names.map((name) => plan.input(name, inputs[name].data, inputs[name].dims));
    plan.build();
    const outputs = this.#graph.outputs.map((name) => plan.floats(plan.value(name)));
    this.#reach(place(plan.works, given, outputs, this.#base));
    const { memory } = this.#kernels;
    const view = (/** @type {Plane} */ map) => new KINDS[map.kind](memory.buffer, map.at, bytesOf(map) / SIZES[map.kind]);
    return (/** @type {Record<string, Pixels>} */ now) => {
      given.forEach((map, at) => view(map).set(now[names[at]].data));
      for (const work of plan.works) work.run();
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
