// @ts-check
/** A thread that helps with networks: it does shares of them, on the memory of the thread that has them. See team.js. */

import { take } from "./shares.js";

/** @typedef {{ exports: any, shares: import("./shares.js").Share[] }} Part of a network */

/** @type {Map<number, Part>} */
const networks = new Map();
/** @type {WebAssembly.Module} */ let kernels;
/** @type {Int32Array} */ let words;

onmessage = ({ data }) => {
  if (data.kernels) {
    ({ kernels, words } = data);
    postMessage("ready");
  } else if (data.memory) {
    const exports = /** @type {any} */ (new WebAssembly.Instance(kernels, { env: { memory: data.memory } }).exports);
    exports.__stack_pointer.value = data.stack;
    networks.set(data.network, { exports, shares: [] });
  } else {
    const part = /** @type {Part} */ (networks.get(data.network));
    if (data.shares) part.shares = data.shares;
    else take(words, data.turn, part.shares, ({ does, given }) => part.exports[/** @type {string} */ (does)](...given), false);
  }
};
