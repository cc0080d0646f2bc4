// @ts-check
/**
 * The encoder as the edge runs it; twin of vidtok/tokenizer/edge.py.
 *
 *     frame --pad to whole cells--> encoder.onnx --> latents, CHANNELS a cell
 *                                       |--> features --gist.onnx--> GIST latents, when asked for
 *
 * The values that the edge makes are the truth: nothing depends on encoding the same frame twice.
 */

import { CELL, UNIT } from "./canvas.js";
import { CHANNELS } from "./levels.js";

/** @typedef {import("./glance.js").Pixels} Pixels */
/** @typedef {import("./nets_port.js").Runs} Runs */

/** Frames to latents, one after the other. */
export class EdgeEncoder {
  #cells;
  #gist;
  #picture = new Int8Array(0);
  /** @type {import("./nets.js").Pixels | null} */
  #features = null;

  /**
   * @param {Runs} cells encoder.onnx, of bytes
   * @param {Runs} gist gist.onnx
   */
  constructor(cells, gist) {
    this.#cells = cells;
    this.#gist = gist;
  }

  /**
   * Latents of the canvas's cells; those of the spare row and column are zero.
   *
   * @param {Pixels} pixels
   * @returns {Promise<Float32Array>}
   */
  async encode(pixels) {
    const [rows, cols] = [Math.ceil(pixels.height / CELL), Math.ceil(pixels.width / CELL)];
    const [high, wide] = [rows * CELL, cols * CELL];
    if (this.#picture.length !== 3 * high * wide) this.#picture = new Int8Array(3 * high * wide);
    padToGrid(pixels, high, wide, this.#picture);
    this.#features = null;
    const { latents, features } = await this.#cells.run({ picture: { data: this.#picture, dims: [high, wide, 3] } });
    this.#features = cropped(features, Math.floor(pixels.height / UNIT), Math.floor(pixels.width / UNIT));
    return spaced(latents.data, rows, cols);
  }

  /**
   * Latents of the whole frame that was encoded last.
   *
   * @returns {Promise<Float32Array>}
   */
  async gist() {
    if (this.#features === null) throw new RangeError("gist() before the first frame");
    const { latents } = await this.#gist.run({ features: this.#features });
    return /** @type {Float32Array} */ (latents.data);
  }
}

/**
 * The frame as the encoder takes it, bytes less 128, with its last row and column repeated to fill whole cells.
 *
 * @param {Pixels} pixels
 * @param {number} high
 * @param {number} wide
 * @param {Int8Array} out
 */
export function padToGrid({ data, width, height, channels }, high, wide, out) {
  let to = 0;
  for (let row = 0; row < high; row++) {
    let from = Math.min(row, height - 1) * width * channels;
    for (let col = 0; col < width; col++, from += channels, to += 3) {
      out[to] = data[from] - 128;
      out[to + 1] = data[from + 1] - 128;
      out[to + 2] = data[from + 2] - 128;
    }
    for (let more = 3 * (wide - width); more > 0; more--, to++) out[to] = out[to - 3];
  }
}

/**
 * Latents cell by cell, for a canvas that has a spare row and column.
 *
 * @param {Float32Array | Int8Array} latents
 * @param {number} rows of the frame
 * @param {number} cols
 * @returns {Float32Array}
 */
function spaced(latents, rows, cols) {
  const out = new Float32Array((rows + 1) * (cols + 1) * CHANNELS);
  for (let row = 0; row < rows; row++) {
    out.set(latents.subarray(row * cols * CHANNELS, (row + 1) * cols * CHANNELS), row * (cols + 1) * CHANNELS);
  }
  return out;
}

/**
 * The features of the frame alone, without those of what was repeated beside it.
 *
 * @param {import("./nets.js").Pixels} features
 * @param {number} high
 * @param {number} wide
 * @returns {import("./nets.js").Pixels}
 */
function cropped({ data, dims: [rows, cols, planes] }, high, wide) {
  const dims = [high, wide, planes];
  if (rows === high && cols === wide) return { data, dims };
  const out = new Float32Array(high * wide * planes);
  for (let row = 0; row < high; row++) {
    const from = row * cols * planes;
    out.set(data.subarray(from, from + wide * planes), row * wide * planes);
  }
  return { data: out, dims };
}
