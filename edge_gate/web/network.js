// @ts-check
/**
 * The gate's network; twin of edge_gate/network.py.
 *
 *     asked --gate.onnx--> Verdict: how long will what a cell shows last, is something happening there?
 */

/**
 * What the network makes of every cell.
 *
 * @typedef {object} Verdict
 * @property {Float32Array} lastsS for how long telling the cell now will have been worth it
 * @property {Float32Array} event the chance that something happens there: no noise, no flicker, no wind, no shaking hand
 */

/** One object serves any number of cameras: what is remembered of each is the caller's. */
export class GateNetwork {
  #network;

  /**
   * @param {import("./nets_port.js").Runs} network gate.onnx
   * @param {number} wake the chance of an event from which on a model is woken, as gate.json has it
   */
  constructor(network, wake) {
    this.#network = network;
    this.wake = wake;
  }

  /**
   * The verdict on what was asked: planes of a number a cell.
   *
   * @param {Float32Array} asked
   * @param {number} rows
   * @param {number} cols
   * @returns {Promise<Verdict>}
   */
  async judge(asked, rows, cols) {
    const cells = rows * cols;
    const planes = asked.length / cells;
    const data = new Float32Array(asked.length);
    for (let cell = 0, to = 0; cell < cells; cell++) {
      for (let plane = 0; plane < planes; plane++) data[to++] = asked[plane * cells + cell];
    }
    const { said } = await this.#network.run({ asked: { data, dims: [rows, cols, planes] } });
    const every = (/** @type {number} */ from) => Float32Array.from({ length: cells }, (_, cell) => said.data[2 * cell + from]);
    return { lastsS: every(0), event: every(1) };
  }
}
