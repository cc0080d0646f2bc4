// @ts-check
/**
 * Replays a recording: the server is sent what it was sent then, at its times, and shows and answers as it did.
 */

import { readTape } from "./recording.js";
import { replay } from "./stream.js";

/** One recording at a time. */
export class Player {
  /** @type {AbortController | null} */
  #playing = null;
  #api;
  #says;
  #named;

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./says.js").Says} says
   * @param {(name: string | null) => void} named
   */
  constructor(api, says, named) {
    this.#api = api;
    this.#says = says;
    this.#named = named;
  }

  stop() {
    this.#playing?.abort();
    this.#playing = null;
    this.#says.clear("replay");
  }

  /** @param {File} file */
  async play(file) {
    this.stop();
    const playing = (this.#playing = new AbortController());
    try {
      const { records } = readTape(new Uint8Array(await file.arrayBuffer()));
      const seconds = Math.round((records.at(-1)?.timeMs ?? 0) / 1000);
      this.#says.tell("replay", "good", `Replaying ${file.name}, ${seconds} s of tokens. The model sees it on the right.`);
      await replay(this.#api, records, this.#named, playing.signal);
      if (!playing.signal.aborted) this.#says.tell("replay", "good", `${file.name} is over.`);
    } catch (error) {
      if (!playing.signal.aborted) this.#says.tell("replay", "bad", error instanceof Error ? error.message : String(error));
    }
  }
}
