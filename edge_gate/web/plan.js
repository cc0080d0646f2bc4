// @ts-check
/**
 * What a network does with inputs of one size: the calls of its kernels, in order.
 *
 *     steps of the graph --> values --> works, of which each reads maps and makes one, all rows or some
 *
 * What each byte of a map turns into by itself - every activation, every change of scale - is worked out for all 256
 * when the plan is made, and looked up.
 */

import { bytesOf, SIZES } from "./arena.js";
import { add, dequantise, quantise, UNARY, unknown } from "./unary.js";

/** @typedef {import("./arena.js").Plane} Plane */
/** @typedef {import("./arena.js").Work} Work */
/** @typedef {import("./onnx.js").Step} Step */
/** @typedef {import("./onnx.js").Stored} Stored */

/**
 * A value of the graph: stored numbers, a map of floats, what each byte of a map turns into: bytes again, or floats.
 *
 * @typedef {{ stored: Stored } | { map: Plane } | { of: Plane, codes: Uint8Array } | { of: Plane, floats: Float32Array }} Value
 */

const [LIGHT, BLACK] = [1 / 128, 127]; // the step of a picture's bytes, and which of them is zero
const SAME = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const [NUMBERS, PIXELS] = [8, 6]; // that kernels take at once
/** What a thread does in a microsecond, about: products of layers, of layers channel by channel, numbers of the rest. */
const PACE = { products: 50_000, deep: 10_000, numbers: 2_000 };

/** What is done, in order, for frames of one size. */
export class Plan {
  /** @type {Work[]} */ works = [];
  /** @type {Map<string, Value>} */ #values = new Map();
  #memory;
  #graph;
  #weights;
  #keep;

  /**
   * @param {WebAssembly.Memory} memory @param {any} graph @param {Map<Step, any>} weights
   * @param {(numbers: any) => number} keep
   */
  constructor(memory, graph, weights, keep) {
    this.#memory = memory;
    this.#graph = graph;
    this.#weights = weights;
    this.#keep = keep;
    for (const [name, stored] of graph.stored) this.#values.set(name, { stored });
  }

  /** @param {string} name @param {Float32Array | Int8Array} data @param {readonly number[]} dims @returns {Plane} */
  input(name, data, [rows, cols, channels]) {
    const map = plane(data instanceof Int8Array ? "bytes" : "floats", rows, cols, channels);
    const floats = Float32Array.from(SAME, (code) => (code - BLACK) * LIGHT);
    this.#values.set(name, map.kind === "bytes" ? { of: map, floats } : { map });
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
        if (`${step.attributes.axes}` !== "2,3") return unknown(step);
        return { map: this.#mean(this.floats(inputs[0])) };
      default:
        return this.#elementwise(step, inputs);
    }
  }

  /** The bytes of a value. @param {Value} value @returns {Plane} */
  #bytes(value) {
    if (!("codes" in value)) throw new Error("bytes were expected");
    if (value.codes.every((code, at) => code === at)) return value.of;
    const { of } = value;
    const out = plane("bytes", of.rows, of.cols, of.channels);
    const table = this.#keep(Int8Array.from(value.codes, (code) => code - 128));
    this.#each("look_up", [of], out, bytesOf(of), NUMBERS, 1 / PACE.numbers, (at, count) => [out.at + at, of.at + at, count, table]);
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
    const [line, to] = [of.cols * of.channels, of.cols * out.channels];
    this.#work("look_up_floats", [of], [out], {
      given: (row, rows) => [
        out.at + 4 * (from + row * to), of.at + row * line, rows * of.cols, of.channels, out.channels, table,
      ],
      rows: of.rows,
      each: line / PACE.numbers,
    });
  }

  /**
   * @param {string | (() => void)} does @param {Plane[]} reads @param {Plane[]} makes
   * @param {{ given?: (from: number, rows: number) => number[], rows?: number, each?: number }} [how] all at once, unless
   *   there are rows
   */
  #work(does, reads, makes, { given = () => [], rows = 1, each = 0 } = {}) {
    this.works.push({ does, reads, makes, given, rows, each });
  }

  /**
   * Work on numbers or pixels of which each is made by itself, but some at once.
   *
   * @param {string} does @param {Plane[]} reads @param {Plane} out @param {number} all @param {number} once
   * @param {number} each what one costs @param {(from: number, count: number) => number[]} given
   */
  #each(does, reads, out, all, once, each, given) {
    this.#work(does, reads, [out], {
      given: (from, rows) => given(once * from, Math.min(once * rows, all - once * from)),
      rows: Math.ceil(all / once),
      each: once * each,
    });
  }

  /** A map with a frame around it, if the step needs one. @param {Plane} map @param {Step} step @param {number} fill */
  #padded(map, step, fill) {
    const [top, left, bottom, right] = step.attributes.pads ?? [0, 0, 0, 0];
    if (top + left + bottom + right === 0 || map.inside) return map;
    const out = plane(map.kind, map.rows + top + bottom, map.cols + left + right, map.channels);
    const pixel = map.channels * SIZES[map.kind];
    this.#work("pad", [map], [out], {
      given: () => [out.at, map.at, map.rows, map.cols * pixel, top, left * pixel, bottom, right * pixel, fill],
    });
    return out;
  }

  /**
   * Room for what a convolution of a map gives: in the middle of a frame, if what reads it wants one.
   *
   * @param {"bytes" | "floats"} kind @param {Plane} from @param {Step} step @param {number} fill
   * @returns {{ out: Plane, inside: () => number, rows: number, cols: number, line: number }} the frame, where it begins
   *   inside, what is inside, and bytes from line to line
   */
  #room(kind, from, step, fill) {
    const { outputs, each, high, wide, deep } = this.#weights.get(step);
    const [down, across] = step.attributes.strides ?? [1, 1];
    if (from.channels !== (deep ? outputs : each)) unknown(step);
    const [rows, cols] = [Math.floor((from.rows - high) / down) + 1, Math.floor((from.cols - wide) / across) + 1];
    if (rows < 1 || cols < 1) throw new RangeError(`${step.name}: ${from.rows}x${from.cols} is too small`);
    const [top, left, bottom, right] = step.attributes.frame ?? [0, 0, 0, 0];
    const out = plane(kind, rows + top + bottom, cols + left + right, outputs);
    const pixel = outputs * SIZES[kind];
    if (top + left + bottom + right > 0) {
      out.inside = true;
      this.#work("frame", [], [out], {
        given: () => [out.at, rows, cols * pixel, top, left * pixel, bottom, right * pixel, fill],
      });
    }
    return { out, inside: () => out.at + (top * out.cols + left) * pixel, rows, cols, line: out.cols * pixel };
  }

  /** @param {Step} step @param {Plane} map @returns {Plane} */
  #convolved(step, map) {
    const { outputs, each, high, wide, deep, weights, bias } = this.#weights.get(step);
    const { low = -Infinity } = step.attributes;
    const [down, across] = step.attributes.strides ?? [1, 1];
    const from = this.#padded(map, step, 0);
    const { out, rows, cols } = this.#room("floats", from, step, 0);
    const pitch = from.cols * from.channels;
    if (deep) {
      if (high !== 3 || wide !== 3 || down !== 1 || across !== 1) return unknown(step);
      this.#work("deepwise_floats", [from], [out], {
        given: (row, some) => [
          out.at + row * cols * outputs * 4, from.at + row * pitch * 4, some, cols, pitch, outputs, weights, bias, low,
        ],
        rows,
        each: (4 * cols * outputs * 9) / PACE.deep,
      });
      return out;
    }
    const [right, below, line] = [across * each * 4, down * pitch * 4, wide * each * 4];
    const costs = (4 * outputs * each * high * wide) / PACE.products;
    this.#each("convolve_floats", [from], out, rows * cols, PIXELS, costs, (first, pixels) => [
      out.at, from.at, first, pixels, cols, right, below, high, line, pitch * 4, weights, outputs, bias, low,
    ]);
    return out;
  }

  /** @param {Step} step @param {Plane} map @returns {Plane} */
  #convolvedBytes(step, map) {
    const { outputs, each, high, wide, deep, weights, scales, offsets, zero, toZero } = this.#weights.get(step);
    const [down, across] = step.attributes.strides ?? [1, 1];
    const from = this.#padded(map, step, zero - 128);
    const { out, inside, rows, cols, line } = this.#room("bytes", from, step, toZero - 128);
    const pitch = from.cols * from.channels;
    if (deep) {
      if (high !== wide || down !== across || ![3, 5].includes(high) || ![1, 2].includes(down)) return unknown(step);
      this.#work("deepwise", [from], [out], {
        given: (row, some) => [
          out.at + row * cols * outputs, from.at + row * down * pitch, some, cols, high, down, pitch, outputs, weights,
          scales, offsets, toZero - 128,
        ],
        rows,
        each: (cols * outputs * high * wide) / PACE.deep,
      });
      return out;
    }
    const costs = (outputs * each * high * wide) / PACE.products;
    this.#each("convolve", [from], out, rows * cols, PIXELS, costs, (first, pixels) => [
      inside(), from.at, first, pixels, cols, across * each, down * pitch, high, wide * each, pitch, weights, outputs,
      scales, offsets, toZero - 128, line,
    ]);
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
    if (bytesOf(x) !== bytesOf(y)) throw new Error("maps of different sizes are added");
    const out = plane("bytes", x.rows, x.cols, x.channels);
    const { timesA, timesB, stored } = sum;
    this.#each("add", [x, y], out, bytesOf(x), NUMBERS, 1 / PACE.numbers, (at, count) => [
      out.at + at, x.at + at, y.at + at, count, timesA, timesB, stored,
    ]);
    return own(out);
  }

  /** @param {Value} from @param {number} scale @param {number} zero @returns {Value} */
  #quantised(from, scale, zero) {
    if ("floats" in from) return { of: from.of, codes: Uint8Array.from(from.floats, (x) => quantise(x, scale, zero)) };
    const map = this.floats(from);
    const out = plane("bytes", map.rows, map.cols, map.channels);
    this.#each("quantise", [map], out, bytesOf(out), NUMBERS, 1 / PACE.numbers, (at, count) => [
      out.at + at, map.at + 4 * at, count, scale, zero,
    ]);
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
    const mean = () => {
      const [from, to] = [this.#view(map), this.#view(out)];
      to.fill(0);
      for (let at = 0; at < from.length; ) for (let channel = 0; channel < to.length; channel++) to[channel] += from[at++];
      for (let at = 0; at < to.length; at++) to[at] /= pixels;
    };
    this.#work(mean, [map], [out]);
    return out;
  }

  /** @param {Plane} map */
  #view(map) {
    return new Float32Array(this.#memory.buffer, map.at, bytesOf(map) / 4);
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
    const fits = (/** @type {Value} */ value) => !("stored" in value) || [1, map.channels].includes(value.stored.data.length);
    if (!inputs.every(fits)) return unknown(step);
    if (b === undefined || "stored" in b) {
      const others = inputs.slice(1).map((value) => ("stored" in value ? value.stored.data : []));
      const each = () => {
        const [from, to] = [this.#view(map), this.#view(out)];
        for (let channel = 0; channel < map.channels; channel++) {
          const [y, z] = others.map((other) => other[other.length > 1 ? channel : 0]);
          for (let at = channel; at < from.length; at += map.channels) to[at] = does(from[at], y, z);
        }
      };
      this.#work(each, [map], [out]);
      return { map: out };
    }
    const other = this.floats(b);
    if (bytesOf(other) !== bytesOf(map)) return unknown(step);
    const both = () => {
      const [x, y, to] = [this.#view(map), this.#view(other), this.#view(out)];
      for (let at = 0; at < x.length; at++) to[at] = does(x[at], y[at]);
    };
    this.#work(both, [map, other], [out]);
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
