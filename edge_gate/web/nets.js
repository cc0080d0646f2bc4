// @ts-check
/**
 * Runs the edge's networks: what onnxruntime would be for, at a 400th of its weight and several times its speed here.
 *
 *     .onnx --readOnnx--> graph --for a frame's size--> works, each a call of kernels/kernels.c
 *
 * What each value of a quantised map turns into by itself - every activation, every change of scale - is worked out for
 * all 256 when a size is first seen, and looked up. Only what is here runs; another network is told so when it loads.
 */

import { bytesOf, place } from "./arena.js";
import { readOnnx } from "./onnx.js";
import { add, dequantise, quantise, UNARY } from "./unary.js";

/** @typedef {import("./arena.js").Plane} Plane */
/** @typedef {import("./arena.js").Work} Work */
/** @typedef {import("./onnx.js").Step} Step */
/** @typedef {import("./onnx.js").Stored} Stored */

/**
 * A value of the graph: stored numbers, a map, what each byte of a map turns into: bytes again, or floats.
 *
 * @typedef {{ stored: Stored } | { map: Plane } | { of: Plane, codes: Uint8Array } | { of: Plane, floats: Float32Array }} Value
 */

/**
 * Pixels of channels, as they go in and come out: rows, cols and channels.
 *
 * @typedef {{ data: Float32Array, dims: readonly number[] }} Pixels
 */

const SAME = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const SCRATCH = 32768 + 48 * 16; // bytes: the kernels' TILE_BYTES and what they may read beyond

/** A module with one 8-bit dot product: compiles where `relaxed.wasm` does. */
const RELAXED = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 18, 1, 16, 0, 65, 0, 253, 15, 65, 0, 253, 15, 65,
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

/** A network, and the sizes it has been run at. */
export class Network {
  /** @type {any} */ #kernels;
  #graph;
  /** @type {Map<Step, any>} */ #weights = new Map();
  /** @type {Map<string, { run: (inputs: Record<string, Pixels>) => Record<string, Pixels> }>} */ #plans = new Map();
  #base;

  /**
   * @param {WebAssembly.Module} kernels
   * @param {Uint8Array} model an ONNX file
   */
  constructor(kernels, model) {
    this.#kernels = new WebAssembly.Instance(kernels).exports;
    this.#base = this.#kernels.__heap_base.value;
    this.#graph = folded(readOnnx(model));
    for (const step of this.#graph.steps) if (/Conv|Gemm/.test(step.op)) this.#weights.set(step, this.#packed(step));
  }

  /**
   * @param {Record<string, Pixels>} inputs
   * @returns {Record<string, Pixels>} copies, the caller's to keep
   */
  run(inputs) {
    const key = JSON.stringify(Object.values(inputs).map(({ dims }) => dims));
    let plan = this.#plans.get(key);
    if (plan === undefined) {
      if (this.#plans.size >= 4) this.#plans.clear();
      plan = this.#planned(inputs);
      this.#plans.set(key, plan);
    }
    return plan.run(inputs);
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

  /** @param {Record<string, Pixels>} inputs */
  #planned(inputs) {
    const plan = new Plan(this.#kernels, this.#graph, this.#weights, (numbers) => this.#stored(numbers));
    const given = Object.entries(inputs).map(([name, { dims }]) => plan.input(name, dims));
    plan.build();
    const outputs = this.#graph.outputs.map((name) => plan.floats(plan.value(name)));
    this.#reach(place(plan.works, given, outputs, this.#base));
    const view = (/** @type {Plane} */ map) => new Float32Array(this.#kernels.memory.buffer, map.at, bytesOf(map) / 4);
    const names = Object.keys(inputs);
    return {
      run: (/** @type {Record<string, Pixels>} */ now) => {
        given.forEach((map, at) => view(map).set(now[names[at]].data));
        for (const work of plan.works) work.run();
        return Object.fromEntries(
          outputs.map((map, at) => [
            this.#graph.outputs[at],
            { data: view(map).slice(), dims: [map.rows, map.cols, map.channels] },
          ]),
        );
      },
    };
  }
}

/** What is done, in order, for frames of one size. */
class Plan {
  /** @type {Work[]} */ works = [];
  /** @type {Map<string, Value>} */ #values = new Map();
  #kernels;
  #graph;
  #weights;
  #keep;

  /** @param {any} kernels @param {any} graph @param {Map<Step, any>} weights @param {(numbers: any) => number} keep */
  constructor(kernels, graph, weights, keep) {
    this.#kernels = kernels;
    this.#graph = graph;
    this.#weights = weights;
    this.#keep = keep;
    for (const [name, stored] of graph.stored) this.#values.set(name, { stored });
  }

  /** @param {string} name @param {readonly number[]} dims @returns {Plane} */
  input(name, [rows, cols, channels]) {
    const map = plane("floats", rows, cols, channels);
    this.#values.set(name, { map });
    return map;
  }

  build() {
    for (const step of this.#graph.steps) this.#values.set(step.outputs[0], this.#done(step));
  }

  /** @param {string} name @returns {Value} */
  value(name) {
    const value = this.#values.get(name);
    if (value === undefined) throw new Error(`${name}: nothing makes it`);
    return value;
  }

  /** @param {Step} step @returns {Value} */
  #done(step) {
    const inputs = step.inputs.map((name) => this.value(name));
    switch (step.op) {
      case "Conv":
      case "Gemm":
        return { map: this.#convolved(step, this.floats(inputs[0])) };
      case "QLinearConv":
        return own(this.#convolvedBytes(step, this.#bytes(inputs[0])));
      case "QLinearAdd":
        return this.#added(inputs);
      case "QuantizeLinear":
        return this.#quantised(inputs[0], scalar(inputs[1]), scalar(inputs[2]));
      case "DequantizeLinear": {
        const [from] = inputs;
        if (!("codes" in from)) return unknown(step);
        const [scale, zero] = [scalar(inputs[1]), scalar(inputs[2])];
        return { of: from.of, floats: Float32Array.from(from.codes, (code) => dequantise(code, scale, zero)) };
      }
      case "Concat":
        return { map: this.#beside(inputs) };
      case "ReduceMean":
        return { map: this.#mean(this.floats(inputs[0])) };
      default:
        return this.#elementwise(step, inputs);
    }
  }

  /** The bytes of a value. @param {Value} value @returns {Plane} */
  #bytes(value) {
    if (!("codes" in value)) throw new Error("bytes were expected");
    if (value.codes === SAME) return value.of;
    const { of } = value;
    const out = plane("bytes", of.rows, of.cols, of.channels);
    const table = this.#keep(Int8Array.from(value.codes, (code) => code - 128));
    this.#work([of], [out], () => this.#kernels.look_up(out.at, of.at, bytesOf(of), table));
    return out;
  }

  /** The floats of a value. @param {Value} value @returns {Plane} */
  floats(value) {
    if ("map" in value) return value.map;
    if (!("floats" in value)) throw new Error("floats were expected");
    const out = plane("floats", value.of.rows, value.of.cols, value.of.channels);
    this.#lookUp(value, out, 0);
    return out;
  }

  /** @param {{ of: Plane, floats: Float32Array }} value @param {Plane} out @param {number} from its channel */
  #lookUp({ of, floats }, out, from) {
    const table = this.#keep(floats);
    const pixels = of.rows * of.cols;
    this.#work([of], [out], () =>
      this.#kernels.look_up_floats(out.at + 4 * from, of.at, pixels, of.channels, out.channels, table),
    );
  }

  /** @param {Plane[]} reads @param {Plane[]} makes @param {() => void} run */
  #work(reads, makes, run) {
    this.works.push({ reads, makes, run });
  }

  /** A map with a frame around it, if it needs one. @param {Plane} map @param {Step} step @param {number} fill */
  #padded(map, step, fill) {
    const [top, left, bottom, right] = step.attributes.pads ?? [0, 0, 0, 0];
    if (top + left + bottom + right === 0) return map;
    const out = plane(map.kind, map.rows + top + bottom, map.cols + left + right, map.channels);
    const pixel = map.channels * (map.kind === "floats" ? 4 : 1);
    this.#work([map], [out], () =>
      this.#kernels.pad(
        out.at, map.at, map.rows, map.cols * pixel, top, left * pixel, bottom, right * pixel, fill,
      ),
    );
    return out;
  }

  /** @param {Step} step @param {Plane} map @returns {Plane} */
  #convolved(step, map) {
    const { outputs, each, high, wide, deep, weights, bias } = this.#weights.get(step);
    const { low = -3e38, high: most = 3e38, steps = 0 } = step.attributes.then ?? {};
    const [down, across] = step.attributes.strides ?? [1, 1];
    const from = this.#padded(map, step, 0);
    const out = plane("floats", Math.floor((from.rows - high) / down) + 1, Math.floor((from.cols - wide) / across) + 1, outputs);
    const { rows, cols } = out;
    const pitch = from.cols * from.channels;
    if (deep) {
      if (high !== 3 || wide !== 3 || down !== 1 || across !== 1) return unknown(step);
      this.#work([from], [out], () =>
        this.#kernels.deepwise_floats(out.at, from.at, rows, cols, pitch, outputs, weights, bias, low, most, steps),
      );
      return out;
    }
    const spare = plane("bytes", 1, 1, SCRATCH + 32 * high * wide * each);
    const [right, below, line] = [across * each * 4, down * pitch * 4, wide * each * 4];
    this.#work([from], [out, spare], () =>
      this.#kernels.convolve_floats(
        out.at, from.at, rows, cols, right, below, high, line, pitch * 4, weights, outputs, bias, low, most, steps, spare.at,
      ),
    );
    return out;
  }

  /** @param {Step} step @param {Plane} map @returns {Plane} */
  #convolvedBytes(step, map) {
    const { outputs, each, high, wide, deep, weights, scales, offsets, zero, toZero } = this.#weights.get(step);
    const [down, across] = step.attributes.strides ?? [1, 1];
    const from = this.#padded(map, step, zero - 128);
    const out = plane("bytes", Math.floor((from.rows - high) / down) + 1, Math.floor((from.cols - wide) / across) + 1, outputs);
    const { rows, cols } = out;
    const pitch = from.cols * from.channels;
    if (deep) {
      if (high !== wide || down !== across || ![3, 5].includes(high) || ![1, 2].includes(down)) return unknown(step);
      this.#work([from], [out], () =>
        this.#kernels.deepwise(
          out.at, from.at, rows, cols, high, down, pitch, outputs, weights, scales, offsets, -toZero, 255 - toZero, toZero - 128,
        ),
      );
      return out;
    }
    const spare = plane("bytes", 1, 1, 3 * (SCRATCH + 8 * high * wide * each));
    this.#work([from], [out, spare], () =>
      this.#kernels.convolve(
        out.at, from.at, rows, cols, across * each, down * pitch, high, wide * each, pitch, weights, outputs, scales,
        offsets, -toZero, 255 - toZero, toZero - 128, spare.at,
      ),
    );
    return out;
  }

  /** @param {Value[]} inputs @returns {Value} */
  #added([a, scaleA, zeroA, b, scaleB, zeroB, scaleC, zeroC]) {
    if (!("codes" in a)) throw new Error("bytes were expected");
    const sum = add(scalar(scaleA), scalar(zeroA), scalar(scaleB), scalar(zeroB), scalar(scaleC), scalar(zeroC));
    if ("stored" in b) {
      const other = scalar(b);
      return { of: a.of, codes: Uint8Array.from(a.codes, (code) => sum.of(code, other)) };
    }
    const [x, y] = [this.#bytes(a), this.#bytes(b)];
    const out = plane("bytes", x.rows, x.cols, x.channels);
    const { timesA, timesB, stored } = sum;
    this.#work([x, y], [out], () => this.#kernels.add(out.at, x.at, y.at, bytesOf(x), timesA, timesB, stored));
    return own(out);
  }

  /** @param {Value} from @param {number} scale @param {number} zero @returns {Value} */
  #quantised(from, scale, zero) {
    if ("floats" in from) return { of: from.of, codes: Uint8Array.from(from.floats, (x) => quantise(x, scale, zero)) };
    const map = this.floats(from);
    const out = plane("bytes", map.rows, map.cols, map.channels);
    this.#work([map], [out], () => this.#kernels.quantise(out.at, map.at, bytesOf(out), scale, zero));
    return own(out);
  }

  /** Maps of the same pixels, their channels beside each other. @param {Value[]} inputs @returns {Plane} */
  #beside(inputs) {
    const maps = inputs.map((value) => ("of" in value && "floats" in value ? value : null));
    const [first] = maps;
    if (first === null || maps.includes(null)) throw new Error("Concat of anything but looked up floats");
    const channels = maps.map((value) => value?.of.channels ?? 0);
    const out = plane("floats", first.of.rows, first.of.cols, channels.reduce((a, b) => a + b));
    let from = 0;
    maps.forEach((value, at) => {
      if (value) this.#lookUp(value, out, from);
      from += channels[at];
    });
    return out;
  }

  /** @param {Plane} map @returns {Plane} */
  #mean(map) {
    const out = plane("floats", 1, 1, map.channels);
    const pixels = map.rows * map.cols;
    this.#work([map], [out], () => {
      const [from, to] = [this.#view(map), this.#view(out)];
      to.fill(0);
      for (let at = 0; at < from.length; at++) to[at % map.channels] += from[at];
      for (let at = 0; at < to.length; at++) to[at] /= pixels;
    });
    return out;
  }

  /** @param {Plane} map */
  #view(map) {
    return new Float32Array(this.#kernels.memory.buffer, map.at, bytesOf(map) / 4);
  }

  /** What is done to each number by itself, or to it and another. @param {Step} step @param {Value[]} inputs @returns {Value} */
  #elementwise(step, inputs) {
    const does = UNARY[step.op];
    if (does === undefined) return unknown(step);
    const [a, b] = inputs;
    if ("of" in a && "floats" in a) {
      const { of } = a;
      if (b && "of" in b && "floats" in b && b.of === of) {
        return { of, floats: a.floats.map((x, code) => does(x, b.floats[code])) };
      }
      const others = inputs.slice(1).map((value) => ("stored" in value && value.stored.data.length === 1 ? scalar(value) : null));
      if (!others.includes(null)) return { of, floats: a.floats.map((x) => does(x, .../** @type {number[]} */ (others))) };
    }
    const map = this.floats(a);
    const out = plane("floats", map.rows, map.cols, map.channels);
    if (b === undefined || "stored" in b) {
      const others = inputs.slice(1).map((value) => ("stored" in value ? value.stored.data : []));
      this.#work([map], [out], () => {
        const [from, to] = [this.#view(map), this.#view(out)];
        for (let at = 0; at < from.length; at++) {
          const channel = at % map.channels;
          to[at] = others.length ? does(from[at], ...others.map((other) => other[other.length > 1 ? channel : 0])) : does(from[at]);
        }
      });
      return { map: out };
    }
    const other = this.floats(b);
    this.#work([map, other], [out], () => {
      const [x, y, to] = [this.#view(map), this.#view(other), this.#view(out)];
      for (let at = 0; at < x.length; at++) to[at] = does(x[at], y[at]);
    });
    return { map: out };
  }
}

/** @param {"bytes" | "floats"} kind @param {number} rows @param {number} cols @param {number} channels @returns {Plane} */
function plane(kind, rows, cols, channels) {
  return { kind, rows, cols, channels, at: 0 };
}

/** @param {Plane} of @returns {Value} */
function own(of) {
  return { of, codes: SAME };
}

/** @param {Value} value @returns {number} */
function scalar(value) {
  if (!value || !("stored" in value) || value.stored.data.length !== 1) throw new Error("one stored number was expected");
  return value.stored.data[0];
}

/** @param {Step} step @returns {never} */
function unknown(step) {
  throw new Error(`${step.name || step.op}: this page cannot run ${step.op} as it is there`);
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

/**
 * A graph whose stored numbers are all worked out, and whose convolutions do what follows them: a limit, and the
 * rounding that is an addition and a subtraction of the same large number.
 *
 * @param {import("./onnx.js").Graph} graph
 */
function folded(graph) {
  const stored = new Map(graph.stored);
  const readers = (/** @type {string} */ name) =>
    graph.outputs.includes(name) ? [] : graph.steps.filter((step) => step.inputs.includes(name));
  const one = (/** @type {string} */ name, /** @type {string} */ op) => {
    const [step, ...others] = readers(name);
    return step?.op === op && step.inputs[0] === name && others.length === 0 ? step : undefined;
  };
  const gone = new Set();
  for (const step of graph.steps) {
    if (step.op === "Constant") {
      stored.set(step.outputs[0], step.attributes.value);
      gone.add(step);
    } else if (step.op === "DequantizeLinear" && stored.has(step.inputs[0])) {
      const [whole, scale] = step.inputs.map((name) => /** @type {Stored} */ (stored.get(name)));
      const row = whole.data.length / scale.data.length;
      const data = Float32Array.from(whole.data, (value, at) => value * scale.data[Math.floor(at / row)]);
      stored.set(step.outputs[0], { dims: whole.dims, data });
      gone.add(step);
    } else if (step.op === "Conv") {
      const clip = one(step.outputs[0], "Clip") ?? one(step.outputs[0], "Relu");
      if (clip === undefined) continue;
      const [low, high] = clip.op === "Relu" ? [0, 3e38] : clip.inputs.slice(1).map((name) => stored.get(name)?.data[0]);
      let last = clip;
      const plus = one(clip.outputs[0], "Add");
      const minus = plus && one(plus.outputs[0], "Sub");
      const steps = plus && minus && plus.inputs[1] === minus.inputs[1] ? stored.get(plus.inputs[1])?.data[0] : 0;
      gone.add(clip);
      if (steps && plus && minus) {
        gone.add(plus).add(minus);
        last = minus;
      }
      step.attributes.then = { low, high, steps };
      step.outputs = last.outputs;
    }
  }
  return { ...graph, stored, steps: graph.steps.filter((step) => !gone.has(step)) };
}
