// @ts-check
/**
 * The encoder as the edge runs it, by an onnxruntime that is handed in; twin of vidtok/tokenizer/edge.py.
 *
 *     frame --pad to whole cells--> encoder_wasm.onnx --> latents, CHANNELS a cell
 *                                            |--> features --gist.onnx--> GIST latents, when asked for
 *
 * The values that the edge makes are the truth: another browser's may round otherwise, and nothing depends on it.
 */

import { CELL, UNIT } from "./canvas.js";
import { CHANNELS } from "./levels.js";

/** @typedef {import("./glance.js").Pixels} Pixels */
/** @typedef {import("./network.js").Ort} Ort */

/** A byte of a picture as the encoder takes it. */
const LIGHT = Float32Array.from({ length: 256 }, (_, byte) => (byte - 127) / 128);

/** Frames to latents, one after the other. */
export class EdgeEncoder {
  #ort;
  #cells;
  #gist;
  #picture = new Float32Array(0);
  /** @type {{ data: Float32Array, dims: readonly number[] } | null} */
  #features = null;

  /**
   * @param {Ort} ort
   * @param {any} cells a session of encoder_wasm.onnx
   * @param {any} gist a session of gist.onnx
   */
  constructor(ort, cells, gist) {
    this.#ort = ort;
    this.#cells = cells;
    this.#gist = gist;
  }

  /**
   * @param {Ort} ort
   * @param {{ encoder: ArrayBuffer | Uint8Array, gist: ArrayBuffer | Uint8Array }} models
   * @param {object} [options] for onnxruntime's sessions
   * @returns {Promise<EdgeEncoder>}
   */
  static async load(ort, { encoder, gist }, options) {
    const cells = await ort.InferenceSession.create(encoder, options);
    return new EdgeEncoder(ort, cells, await ort.InferenceSession.create(gist, options));
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
    if (this.#picture.length !== 3 * high * wide) this.#picture = new Float32Array(3 * high * wide);
    padToGrid(pixels, high, wide, this.#picture);
    const picture = new this.#ort.Tensor("float32", this.#picture, [1, 3, high, wide]);
    const { latents, features } = await this.#cells.run({ picture });
    this.#features = cropped(features, Math.floor(pixels.height / UNIT), Math.floor(pixels.width / UNIT));
    return byCell(latents.data, rows, cols);
  }

  /**
   * Latents of the whole frame that was encoded last.
   *
   * @returns {Promise<Float32Array>}
   */
  async gist() {
    if (this.#features === null) throw new RangeError("gist() before the first frame");
    const { data, dims } = this.#features;
    const { latents } = await this.#gist.run({ features: new this.#ort.Tensor("float32", data, dims) });
    return latents.data.slice();
  }
}

/**
 * The frame as the encoder takes it, one plane a colour, with its last row and column repeated to fill whole cells.
 *
 * @param {Pixels} pixels
 * @param {number} high
 * @param {number} wide
 * @param {Float32Array} out
 */
export function padToGrid(pixels, high, wide, out) {
  const { data, width, height, channels } = pixels;
  const plane = high * wide;
  const words = channels === 4 && data.byteOffset % 4 === 0 ? new Int32Array(data.buffer, data.byteOffset) : null;
  for (let row = 0; row < high; row++) {
    const to = row * wide;
    const from = Math.min(row, height - 1) * width;
    if (words) fillWords(words, from, out, to, width, plane);
    else fillBytes(data, from * channels, channels, out, to, width, plane);
    for (let colour = to; width < wide && colour < 3 * plane; colour += plane) {
      out.fill(out[colour + width - 1], colour + width, colour + wide);
    }
  }
}

/** @param {Int32Array} words @param {number} from @param {Float32Array} out @param {number} to @param {number} count
 * @param {number} plane */
function fillWords(words, from, out, to, count, plane) {
  for (let across = 0; across < count; across++) {
    const word = words[from + across];
    out[to + across] = LIGHT[word & 255];
    out[plane + to + across] = LIGHT[(word >>> 8) & 255];
    out[2 * plane + to + across] = LIGHT[(word >>> 16) & 255];
  }
}

/** @param {Uint8Array | Uint8ClampedArray} data @param {number} from @param {number} channels @param {Float32Array} out
 * @param {number} to @param {number} count @param {number} plane */
function fillBytes(data, from, channels, out, to, count, plane) {
  for (let place = to; place < to + count; place++, from += channels) {
    out[place] = LIGHT[data[from]];
    out[plane + place] = LIGHT[data[from + 1]];
    out[2 * plane + place] = LIGHT[data[from + 2]];
  }
}

/**
 * Latents as the network gives them, a plane each, cell by cell for a canvas that has a spare row and column.
 *
 * @param {Float32Array} planes
 * @param {number} rows of the frame
 * @param {number} cols
 * @returns {Float32Array}
 */
function byCell(planes, rows, cols) {
  const out = new Float32Array((rows + 1) * (cols + 1) * CHANNELS);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const to = (row * (cols + 1) + col) * CHANNELS;
      let from = row * cols + col;
      for (let channel = 0; channel < CHANNELS; channel++, from += rows * cols) out[to + channel] = planes[from];
    }
  }
  return out;
}

/**
 * The features of the frame alone, without those of what was repeated beside it.
 *
 * @param {{ data: Float32Array, dims: readonly number[] }} features
 * @param {number} high
 * @param {number} wide
 * @returns {{ data: Float32Array, dims: readonly number[] }}
 */
function cropped({ data, dims: [, planes, rows, cols] }, high, wide) {
  const dims = [1, planes, high, wide];
  if (rows === high && cols === wide) return { data, dims };
  const out = new Float32Array(planes * high * wide);
  for (let line = 0; line < planes * high; line++) {
    const from = (Math.floor(line / high) * rows + (line % high)) * cols;
    out.set(data.subarray(from, from + wide), line * wide);
  }
  return { data: out, dims };
}
