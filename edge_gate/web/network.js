// @ts-check
/**
 * The gate's network, run by an onnxruntime that is handed in; twin of edge_gate/network.py.
 *
 *     asked --gate.onnx--> Verdict: how long will what a cell shows last, is something happening there?
 */

/**
 * What of onnxruntime-web is used: its module, as it comes.
 *
 * @typedef {object} Ort
 * @property {{ create: (model: any, options?: any) => Promise<any> }} InferenceSession
 * @property {new (type: "float32", data: Float32Array, dims: readonly number[]) => any} Tensor
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
  #ort;
  #session;

  /**
   * @param {Ort} ort
   * @param {any} session of gate.onnx
   * @param {number} wake the chance of an event from which on a model is woken
   */
  constructor(ort, session, wake) {
    this.#ort = ort;
    this.#session = session;
    this.wake = wake;
  }

  /**
   * @param {Ort} ort
   * @param {ArrayBuffer | Uint8Array} model gate.onnx
   * @param {number} wake as gate.json has it
   * @param {object} [options] for onnxruntime's session
   * @returns {Promise<GateNetwork>}
   */
  static async load(ort, model, wake, options) {
    return new GateNetwork(ort, await ort.InferenceSession.create(model, options), wake);
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
    const tensor = new this.#ort.Tensor("float32", asked, [1, asked.length / cells, rows, cols]);
    const { said } = await this.#session.run({ asked: tensor });
    return { lastsS: said.data.slice(0, cells), event: said.data.slice(cells, 2 * cells) };
  }
}
