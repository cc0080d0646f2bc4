// @ts-check
/**
 * A thread for the networks alone: packets and timers must not wait for them. Its other end is nets_port.js.
 *
 *     page's worker --nets_port.js--> this thread --team.js--> helpers, where memory can be shared and there are cores for them
 */

import { build, Network } from "./nets.js";
import { Lost, Team, threadsHere } from "./team.js";

/** @typedef {import("./nets.js").Pixels} Pixels */
/** @typedef {{ build: string, threads: number }} Opened which build of the kernels runs, and in how many threads */

/** @type {Map<string, Network>} */
let networks = new Map();
/** Makes them anew, for another team. @type {(team: Team | null) => void} */
let make;
/** @type {Team | null} */
let team = null;

onmessage = async ({ data: { id, models, name, inputs } }) => {
  try {
    postMessage({ id, result: models ? await open(models) : run(name, inputs) });
  } catch (error) {
    postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};

/** @param {Record<string, Uint8Array>} models @returns {Promise<Opened>} */
async function open(models) {
  const which = build();
  const threads = threadsHere();
  if (threads > 1) {
    try {
      return await openWith(`${which}-shared`, models, threads);
    } catch {
      team?.close(); // no memory that can be shared, or no kernels for it: one thread needs neither
    }
  }
  return openWith(which, models, 1);
}

/** @param {string} which @param {Record<string, Uint8Array>} models @param {number} threads @returns {Promise<Opened>} */
async function openWith(which, models, threads) {
  const kernels = await compiled(which);
  make = (by) => {
    team = by;
    networks = new Map(Object.entries(models).map(([name, model]) => [name, new Network(kernels, model, by)]));
  };
  make(threads > 1 ? await Team.open(kernels, threads) : null);
  return { build: which.replace("-shared", ""), threads: team?.threads ?? 1 };
}

/** @param {string} which @returns {Promise<WebAssembly.Module>} */
async function compiled(which) {
  const response = await fetch(new URL(`./kernels/${which}.wasm`, import.meta.url));
  if (!response.ok) throw new Error(`the server does not give ${which}.wasm (${response.status}): reload the page`);
  return WebAssembly.compile(await response.arrayBuffer()).catch((error) => {
    throw new Error(`${which}.wasm does not compile, which takes a current browser's SIMD: ${error.message}`);
  });
}

/** @param {string} name @param {Record<string, Pixels>} inputs */
function run(name, inputs) {
  const network = () => /** @type {Network} */ (networks.get(name));
  try {
    return network().run(inputs);
  } catch (error) {
    if (!(error instanceof Lost)) throw error;
    team?.close();
    make(new Team()); // of this thread alone, and on memory that no other knows
    return network().run(inputs);
  }
}
