// @ts-check
/** Networks that run in a thread of their own: as nets.js has them, and later. */

/** @typedef {import("./nets.js").Pixels} Pixels */

/**
 * What runs a network: one of nets.js, or one in another thread.
 *
 * @typedef {{ run: (inputs: Record<string, Pixels>) => Record<string, Pixels> | Promise<Record<string, Pixels>> }} Runs
 */

/** The thread, which may have helpers, and what was asked of it. */
export class Nets {
  #thread = new Worker(new URL("./nets_worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */ #asked = new Map();
  #count = 0;
  /** Why nothing is answered any more. @type {Error | null} */ #failed = null;
  /** Which build of the kernels runs. */
  build = "";
  /** In how many threads. */
  threads = 0;

  constructor() {
    this.#thread.onmessage = ({ data: { id, result, error } }) => {
      const asked = this.#asked.get(id);
      this.#asked.delete(id);
      if (error === undefined) asked?.resolve(result);
      else asked?.reject(new Error(error));
    };
    this.#thread.onerror = (event) => this.#fail(event.message || "the networks' thread did not start: reload the page");
  }

  /**
   * @param {Record<string, Uint8Array>} models ONNX files by name; they are handed over
   * @returns {Promise<Nets>}
   */
  static async open(models) {
    const nets = new Nets();
    try {
      Object.assign(nets, await nets.#ask({ models }, Object.values(models).map((model) => model.buffer)));
    } catch (error) {
      nets.#fail("the networks did not open");
      throw error;
    }
    return nets;
  }

  /** @param {string} name @returns {Runs} */
  network(name) {
    return { run: (inputs) => this.#ask({ name, inputs }) };
  }

  /** @param {string} why */
  #fail(why) {
    this.#failed = new Error(why);
    this.#thread.terminate();
    for (const { reject } of this.#asked.values()) reject(this.#failed);
    this.#asked.clear();
  }

  /** @param {object} what @param {any[]} [over] what is handed over @returns {Promise<any>} */
  #ask(what, over = []) {
    if (this.#failed) return Promise.reject(this.#failed);
    return new Promise((resolve, reject) => {
      this.#thread.postMessage({ id: ++this.#count, ...what }, over);
      this.#asked.set(this.#count, { resolve, reject });
    });
  }
}
