// @ts-check
/**
 * What the same frames would have cost otherwise, measured in the tab; what is made for it is counted and thrown away.
 *
 *     frame --once a second--> JPEG, quality 85 --> its bytes, 258 tokens
 *           --every one------> this browser's H.264 encoder --> its bytes, a token a cell; without one, an estimate
 */

import { CELL } from "./canvas.js";

/** What a model takes for a picture, whatever is on it. */
export const TOKENS_A_PICTURE = 258;

/** What H.264 is asked for: sharp enough that a model's features hardly suffer. */
export const BITS_A_PIXEL = 0.1;

const QUALITY = 0.85;
const CODEC = "avc1.42001f"; // constrained baseline, as calls use it
const MOST_WAITING = 4;

/** @typedef {{ jpegBytes: number, jpegTokens: number, h264Bytes: number, h264Tokens: number, h264Note: string }} Cost */

/** Counts from `begin` on. */
export class Costs {
  #size = { width: 0, height: 0, fps: 0 };
  #jpegAt = 0;
  #frames = 0;
  #jpegBytes = 0;
  #jpegs = 0;
  #h264Bytes = 0;
  /** @type {VideoEncoder | null} */
  #encoder = null;
  #run = 0;

  /** @param {{ width: number, height: number, fps: number }} size */
  async begin(size) {
    this.end();
    const run = ++this.#run;
    this.#size = size;
    this.#jpegAt = this.#frames = this.#jpegBytes = this.#jpegs = this.#h264Bytes = 0;
    const encoder = await h264(size, (bytes) => {
      if (run === this.#run) this.#h264Bytes += bytes;
    });
    if (run === this.#run) this.#encoder = encoder;
    else encoder?.close();
  }

  /** Stop counting; the figures stay. */
  end() {
    this.#run++;
    if (this.#encoder !== null && this.#encoder.state !== "closed") this.#encoder.close();
    this.#encoder = null;
  }

  /**
   * Count a frame; it stays the caller's.
   *
   * @param {ImageBitmap} frame
   * @param {number} atMs
   */
  count(frame, atMs) {
    this.#frames += 1;
    if (atMs - this.#jpegAt >= 1000) {
      this.#jpegAt = atMs;
      void this.#jpeg(frame, this.#run);
    }
    const encoder = this.#encoder;
    if (encoder?.state === "configured" && encoder.encodeQueueSize < MOST_WAITING) {
      const picture = new VideoFrame(frame, { timestamp: atMs * 1000 });
      encoder.encode(picture);
      picture.close();
    }
  }

  /** @returns {Cost} */
  get now() {
    const { width, height } = this.#size;
    const cells = Math.ceil(width / CELL) * Math.ceil(height / CELL);
    const measured = this.#encoder !== null;
    return {
      jpegBytes: this.#jpegBytes,
      jpegTokens: this.#jpegs * TOKENS_A_PICTURE,
      h264Bytes: measured ? this.#h264Bytes : Math.round((this.#frames * width * height * BITS_A_PIXEL) / 8),
      h264Tokens: this.#frames * cells,
      h264Note: measured
        ? `H.264: real bytes of this browser's encoder at ${BITS_A_PIXEL} bits a pixel; a token for each cell of each frame.`
        : `H.264: an estimate, ${BITS_A_PIXEL} bits a pixel (this browser has no encoder); a token for each cell of each frame.`,
    };
  }

  /** @param {ImageBitmap} frame @param {number} run */
  async #jpeg(frame, run) {
    const sheet = new OffscreenCanvas(frame.width, frame.height);
    sheet.getContext("2d")?.drawImage(frame, 0, 0);
    const { size } = await sheet.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    if (run !== this.#run) return;
    this.#jpegBytes += size;
    this.#jpegs += 1;
  }
}

/**
 * @param {{ width: number, height: number, fps: number }} size
 * @param {(bytes: number) => void} output
 * @returns {Promise<VideoEncoder | null>}
 */
async function h264({ width, height, fps }, output) {
  if (!("VideoEncoder" in globalThis)) return null;
  const bitrate = Math.round(width * height * fps * BITS_A_PIXEL);
  /** @type {VideoEncoderConfig} */
  const config = { codec: CODEC, width, height, framerate: fps, bitrate, latencyMode: "realtime" };
  const { supported } = await VideoEncoder.isConfigSupported(config).catch(() => ({ supported: false }));
  if (!supported) return null;
  const encoder = new VideoEncoder({ output: (chunk) => output(chunk.byteLength), error: () => {} });
  encoder.configure(config);
  return encoder;
}

/**
 * Bytes for people.
 *
 * @param {number} bytes
 * @returns {string}
 */
export function readable(bytes) {
  if (bytes < 10_000) return `${(bytes / 1000).toFixed(1)} kB`;
  if (bytes < 1_000_000) return `${Math.round(bytes / 1000)} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
