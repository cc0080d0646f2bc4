// @ts-check
/** A thread that helps with networks: it does shares of them, on the memory of the thread that has them. See team.js. */

import { take } from "./shares.js";

/** @type {Map<number, { exports: any, shares: import("./shares.js").Share[] }>} */
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
    const network = /** @type {{ exports: any, shares: import("./shares.js").Share[] }} */ (networks.get(data.network));
    if (data.shares) network.shares = data.shares;
    else take(words, data.turn, network.shares, ({ does, given }) => network.exports[/** @type {string} */ (does)](...given), false);
  }
};
