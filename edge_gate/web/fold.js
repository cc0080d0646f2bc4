// @ts-check
/**
 * A graph made ready: what can be worked out beforehand is, and layers do what follows them.
 *
 *     Conv, Clip, + a large number, - the same  -->  one layer that gives whole numbers of a step
 *     Conv, QuantizeLinear                      -->  one that gives bytes
 */

/** @typedef {import("./onnx.js").Step} Step */
/** @typedef {import("./onnx.js").Stored} Stored */

export const LIGHT = 1 / 128; // the step of a picture's bytes,
export const BLACK = 127; // and which of them is zero
const EXACT = 2 ** 24; // whole numbers up to here are floats
const SHIFT = 1.5 * 2 ** 23; // a number of 32 bits rounds to ones where this is added, to so many parts beside a part of it
const NEVER = 3e38; // no number is larger

/**
 * Stored numbers all worked out, and to each layer in `attributes` what follows it: `then`, with the limits low and most,
 * the step of the whole numbers that it gives, or scale and zero of its bytes; and the `frame` that its reader wants.
 * A layer whose inputs are whole numbers has their `step`, and the `most` that they come to.
 *
 * @param {import("./onnx.js").Graph} graph
 * @param {boolean} bytes whether its inputs are a picture's
 */
export function folded(graph, bytes) {
  const stored = new Map(graph.stored);
  const number = (/** @type {string} */ name) => stored.get(name)?.data[0];
  const gone = new Set();
  /** What alone reads a value, if it is of that kind. @param {string} name @param {string} op @returns {Step | undefined} */
  const reader = (name, op) => {
    if (graph.outputs.includes(name)) return undefined;
    const [step, ...others] = graph.steps.filter((at) => at.inputs.includes(name));
    return step?.op === op && step.inputs[0] === name && others.length === 0 ? step : undefined;
  };
  const steps = new Map(bytes ? graph.inputs.map((name) => [name, { step: LIGHT, most: 1 }]) : []);
  for (const layer of graph.steps) {
    if (layer.op === "Constant") {
      stored.set(layer.outputs[0], layer.attributes.value);
      gone.add(layer);
    } else if (layer.op === "DequantizeLinear" && stored.has(layer.inputs[0])) {
      stored.set(layer.outputs[0], unpacked(layer.inputs.map((name) => /** @type {Stored} */ (stored.get(name)))));
      gone.add(layer);
    } else if (layer.op === "Conv") {
      const limit = reader(layer.outputs[0], "Clip") ?? reader(layer.outputs[0], "Relu");
      const plus = limit && reader(limit.outputs[0], "Conv");
      const minus = plus && reader(plus.outputs[0], "Conv");
      const whole = reader(layer.outputs[0], "QuantizeLinear");
      const shift = plus && minus && added(plus, stored) === -added(minus, stored) ? added(plus, stored) : undefined;
      const follow = whole ? [whole] : shift ? [limit, plus, minus] : limit ? [limit] : [];
      const [low, most] = limit?.op === "Clip" ? limit.inputs.slice(1).map(number) : [limit ? 0 : -NEVER, NEVER];
      const gives = shift ? shift / SHIFT : undefined;
      const [scale, zero] = whole ? whole.inputs.slice(1).map(number) : [];
      Object.assign(layer.attributes, { then: { low, most, gives, scale, zero } }, steps.get(layer.inputs[0]));
      for (const step of follow) gone.add(step);
      layer.outputs = (follow.at(-1) ?? layer).outputs;
      if (gives && low === 0 && steps.has(layer.inputs[0])) steps.set(layer.outputs[0], { step: gives, most });
    }
    const deep = reader(layer.outputs[0], "Conv") ?? reader(layer.outputs[0], "QLinearConv");
    const framed = layer.op === "QLinearConv" || steps.has(layer.outputs[0]);
    if (framed && deep && deep.attributes.group > 1) layer.attributes.frame = deep.attributes.pads;
  }
  return { ...graph, stored, steps: graph.steps.filter((step) => !gone.has(step)) };
}

/** What a layer adds to every number, if it does nothing else. @param {Step} layer @param {Map<string, Stored>} stored */
function added(layer, stored) {
  const [weights, bias] = layer.inputs.slice(1).map((name) => stored.get(name)?.data ?? new Float32Array());
  const nothing = weights.length === layer.attributes.group && weights.every((/** @type {number} */ weight) => weight === 1);
  return nothing && bias.length > 0 && bias.every((/** @type {number} */ by) => by === bias[0]) ? bias[0] : NaN;
}

/** Numbers stored in 8 bits, a scale a row. @param {Stored[]} parts @returns {Stored} */
function unpacked([whole, scale]) {
  const row = whole.data.length / scale.data.length;
  const data = Float32Array.from(whole.data, (value, at) => value * scale.data[Math.floor(at / row)]);
  return { dims: whole.dims, data };
}

/**
 * A layer's weights as whole numbers of 16 bits, each channel's by a power of two, if no sum of its inputs - whole numbers
 * of `step` up to `most` - has more than a float holds: then floats would give the same.
 *
 * @param {Float32Array} weights by channel, by pixel where each channel is by itself
 * @param {Float32Array} bias @param {number} outputs @param {boolean} deep @param {number} step @param {number} most
 * @param {number} gives what the layer's outputs are counted in
 * @returns {{ whole: Int16Array, scales: Float32Array, offsets: Int32Array } | null}
 */
export function exact(weights, bias, outputs, deep, step, most, gives) {
  const each = weights.length / outputs;
  const [whole, scales, offsets] = [new Int16Array(weights.length), new Float32Array(outputs + 8), new Int32Array(outputs + 8)];
  const place = (/** @type {number} */ of, /** @type {number} */ at) => (deep ? at * outputs + of : of * each + at);
  for (let of = 0; of < outputs; of++) {
    let [fine, sum, total] = [1, 0, 0];
    for (let at = 0; at < each; at++) {
      while (!Number.isInteger(weights[place(of, at)] * fine) && fine < EXACT) fine *= 2;
    }
    while (!Number.isInteger((bias[of] / step) * fine) && fine < EXACT) fine *= 2;
    for (let at = 0; at < each; at++) {
      const number = weights[place(of, at)] * fine;
      if (Math.abs(number) > 32767) return null;
      whole[place(of, at)] = number;
      sum += Math.abs(number);
      total += number;
    }
    const offset = (bias[of] / step) * fine;
    if ((sum * most) / step + Math.abs(offset) > EXACT) return null;
    scales[of] = step / fine / gives;
    offsets[of] = step === LIGHT ? offset + (128 - BLACK) * total : offset;
  }
  return { whole, scales, offsets };
}
