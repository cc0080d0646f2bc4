// @ts-check
/** A thread for the networks alone: packets and timers must not wait for them. Its other end is nets_port.js. */

import { build, Network } from "./nets.js";

/** @type {Map<string, Network>} */
const networks = new Map();

onmessage = async ({ data: { id, models, name, inputs } }) => {
  try {
    postMessage({ id, result: models ? await open(models) : /** @type {Network} */ (networks.get(name)).run(inputs) });
  } catch (error) {
    postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};

/** @param {Record<string, Uint8Array>} models @returns {Promise<string>} which build runs */
async function open(models) {
  const which = build();
  const response = await fetch(new URL(`./kernels/${which}.wasm`, import.meta.url));
  if (!response.ok) throw new Error(`the server does not give ${which}.wasm (${response.status}): reload the page`);
  const kernels = await WebAssembly.compile(await response.arrayBuffer()).catch((error) => {
    throw new Error(`${which}.wasm does not compile, which takes a current browser's SIMD: ${error.message}`);
  });
  for (const [name, model] of Object.entries(models)) networks.set(name, new Network(kernels, model));
  return which;
}
