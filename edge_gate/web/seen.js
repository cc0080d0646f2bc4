// @ts-check
/**
 * The canvas as the model has it: a picture from the server, asked for while somebody looks, at most twice a second.
 */

import { Refused } from "./api.js";

const EVERY_MS = 500;

const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** The right picture. */
export class Seen {
  #api;
  #stream;
  /** @type {string | null} */
  #tag = null;
  #asking = false;

  /** @param {import("./api.js").Api} api @param {() => string | null} stream */
  constructor(api, stream) {
    this.#api = api;
    this.#stream = stream;
    setInterval(() => void this.#ask(), EVERY_MS);
  }

  /** Another stream. */
  begin() {
    this.#tag = null;
    if (this.#stream() === null) $("seen-empty").hidden = !($("seen").hidden = true);
  }

  async #ask() {
    const stream = this.#stream();
    if (stream === null || this.#asking || document.hidden) return;
    this.#asking = true;
    try {
      const drawn = await this.#api.picture(stream, this.#tag);
      if (drawn !== null && stream === this.#stream()) this.#show(drawn);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // the stream itself says what is wrong
    } finally {
      this.#asking = false;
    }
  }

  /** @param {{ picture: Blob, tag: string }} drawn */
  #show({ picture, tag }) {
    this.#tag = tag;
    const address = URL.createObjectURL(picture);
    const image = $("seen");
    image.onload = () => {
      URL.revokeObjectURL(address);
      image.hidden = false;
      $("seen-empty").hidden = true;
      const { naturalWidth, naturalHeight } = image;
      $("canvas-frame").style.setProperty("--ratio", `${naturalWidth} / ${naturalHeight}`);
    };
    image.src = address;
  }
}
