// @ts-check
/** A graph made ready: what can be worked out beforehand is, and layers do what follows them. */

import { unknown } from "./unary.js";

/** @typedef {import("./onnx.js").Step} Step */
/** @typedef {import("./onnx.js").Stored} Stored */

/**
 * Stored numbers all worked out, and to each layer in `attributes` what follows it: the limit `low`, and the `frame` that
 * its reader wants around what it gives.
 *
 * @param {import("./onnx.js").Graph} graph
 */
export function folded(graph) {
  const stored = new Map(graph.stored);
  const gone = new Set();
  /** What alone reads a value, if it is of that kind. @param {string} name @param {string} op @returns {Step | undefined} */
  const reader = (name, op) => {
    if (graph.outputs.includes(name)) return undefined;
    const [step, ...others] = graph.steps.filter((at) => at.inputs.includes(name));
    return step?.op === op && step.inputs[0] === name && others.length === 0 ? step : undefined;
  };
  for (const layer of graph.steps) {
    if (layer.op === "Constant") {
      stored.set(layer.outputs[0], layer.attributes.value);
      gone.add(layer);
    } else if (layer.op === "DequantizeLinear" && stored.has(layer.inputs[0])) {
      if (layer.inputs.length > 2 || layer.attributes.axis !== 0) unknown(layer);
      stored.set(layer.outputs[0], unpacked(layer.inputs.map((name) => /** @type {Stored} */ (stored.get(name)))));
      gone.add(layer);
    } else if (layer.op === "Conv") {
      const limit = reader(layer.outputs[0], "Relu");
      if (limit === undefined) continue;
      layer.attributes.low = 0;
      layer.outputs = limit.outputs;
      gone.add(limit);
    } else if (layer.op === "QLinearConv") {
      const deep = reader(layer.outputs[0], "QLinearConv");
      if (deep && deep.attributes.group > 1 && layer.attributes.group === 1) layer.attributes.frame = deep.attributes.pads;
    }
  }
  return { ...graph, stored, steps: graph.steps.filter((step) => !gone.has(step)) };
}

/** Numbers stored in 8 bits, a scale a row. @param {Stored[]} parts @returns {Stored} */
function unpacked([whole, scale]) {
  const row = whole.data.length / scale.data.length;
  const data = Float32Array.from(whole.data, (value, at) => value * scale.data[Math.floor(at / row)]);
  return { dims: whole.dims, data };
}
