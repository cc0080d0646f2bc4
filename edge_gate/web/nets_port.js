// @ts-check
/** Networks that run in a thread of their own: as nets.js has them, and later. */

/** @typedef {import("./nets.js").Pixels} Pixels */

/**
 * What runs a network: one of nets.js, or one in another thread.
 *
 * @typedef {{ run: (inputs: Record<string, Pixels>) => Record<string, Pixels> | Promise<Record<string, Pixels>> }} Runs
 */

/** The thread, and what was asked of it. */
export class Nets {
  #thread = new Worker(new URL("./nets_worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */ #asked = new Map();
  #count = 0;
  /** Which build of the kernels runs. */
  build = "";

  /**
   * @param {Record<string, Uint8Array>} models ONNX files by name; they are handed over
   * @returns {Promise<Nets>}
   */
  static async open(models) {
    const nets = new Nets();
    nets.#thread.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = /** @type {any} */ (nets.#asked.get(id));
      nets.#asked.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    };
    nets.#thread.onerror = (event) => {
      for (const { reject } of nets.#asked.values()) reject(new Error(event.message || "the networks' thread did not start"));
    };
    nets.build = await nets.#ask({ models }, Object.values(models).map((model) => model.buffer));
    return nets;
  }

  /** @param {string} name @returns {Runs} */
  network(name) {
    return { run: (inputs) => this.#ask({ name, inputs }) };
  }

  /** @param {object} what @param {any[]} [over] what is handed over @returns {Promise<any>} */
  #ask(what, over = []) {
    return new Promise((resolve, reject) => {
      this.#asked.set(++this.#count, { resolve, reject });
      this.#thread.postMessage({ id: this.#count, ...what }, over);
    });
  }
}
