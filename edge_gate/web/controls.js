// @ts-check
/**
 * What the user chooses: source, size, pace, both caps; files that are dropped on the page.
 */

/**
 * @typedef {object} Choice
 * @property {"camera" | "screen" | "file" | "scene" | "watch"} kind
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {File} [file]
 * @property {string | null} stream to watch
 */

/** @typedef {{ kbps: number, tokensPerS: number }} Caps */

const KEPT = "vidtok-choices"; // in this browser's storage: choices only, never what was filmed or asked
const [LEAST_KBPS, MOST_KBPS] = [1, 500];
const [FEWEST, MOST_TOKENS] = [2, 2000];
const DEFAULT = { kbps: 30, tokensPerS: 300 }; // as `vidtok send` has them
const LIST_MS = 2000;
const PLACES = 1000; // of a slider

const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** The form above the pictures, the sliders, and what is dropped. */
export class Controls {
  /** @type {(choice: Choice) => void} */
  onstart = () => {};
  onstop = () => {};
  /** @type {(caps: Caps) => void} */
  oncaps = () => {};
  /** @type {() => Promise<import("./api.js").StreamInfo[]>} */
  onstreams = async () => [];
  /** @type {(name: string | null) => void} */
  onwatch = () => {};
  /** @type {(recording: File) => void} */
  onrecording = () => {};

  /** @type {File | undefined} */
  #file;
  #running = false;

  begin() {
    this.#restore();
    $("source").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.#running) this.onstop();
      else this.#start();
    });
    for (const id of ["kind", "size", "fps"]) $(id).addEventListener("change", () => this.#changed(id));
    for (const id of ["kbps", "tokens"]) $(id).addEventListener("input", () => this.#slid());
    $("stream").addEventListener("change", () => this.#running && this.onwatch($("stream").value || null));
    $("file").addEventListener("change", () => this.#take($("file").files[0]));
    $("replay").addEventListener("click", () => this.#pick(".vtk"));
    this.#drops();
    this.#slid();
    setInterval(() => void this.#list(), LIST_MS);
    this.#show();
  }

  /** @param {boolean} running */
  set running(running) {
    this.#running = running;
    $("start").textContent = running ? "Stop" : "Start";
    $("start").classList.toggle("main", !running);
    this.#show();
  }

  /** @returns {Caps} */
  get caps() {
    return {
      kbps: scaled($("kbps").value, LEAST_KBPS, MOST_KBPS),
      tokensPerS: Math.round(scaled($("tokens").value, FEWEST, MOST_TOKENS)),
    };
  }

  #start() {
    const kind = $("kind").value;
    if (kind === "file" && this.#file === undefined) {
      this.#pick("video/*,.vtk");
      return;
    }
    const [width, height] = $("size").value.split("x").map(Number);
    this.onstart({ kind, width, height, fps: Number($("fps").value), file: this.#file, stream: $("stream").value || null });
  }

  /** @param {string} id */
  #changed(id) {
    this.#keep();
    this.#show();
    if (id === "kind") void this.#list();
    if (!this.#running) return;
    this.onstop();
    this.#start();
  }

  #slid() {
    const { kbps, tokensPerS } = this.caps;
    const bits = kbps < 10 ? kbps.toFixed(1) : kbps.toFixed(0);
    $("kbps-now").value = `${bits} kbps`;
    $("tokens-now").value = `${tokensPerS} a second`;
    $("kbps").setAttribute("aria-valuetext", `${bits} kilobits a second`);
    $("tokens").setAttribute("aria-valuetext", `${tokensPerS} tokens a second`);
    this.#keep();
    this.oncaps(this.caps);
  }

  #show() {
    $("stream-field").hidden = $("kind").value !== "watch";
  }

  async #list() {
    if ($("kind").value !== "watch" || document.hidden) return;
    const streams = await this.onstreams();
    const [had, was] = [$("stream").value, $("stream").dataset.names ?? ""];
    const names = streams.map(({ name }) => name);
    if (names.join() === was) return;
    $("stream").dataset.names = names.join();
    $("stream").replaceChildren(...streams.map(({ name, source }) => new Option(`${name}: ${source}`, name)));
    $("stream").value = names.includes(had) ? had : (names.at(-1) ?? "");
    if (this.#running) this.onwatch($("stream").value || null);
  }

  /** @param {string} types */
  #pick(types) {
    $("file").accept = types;
    $("file").value = "";
    $("file").click();
  }

  /** @param {File | undefined} file */
  #take(file) {
    if (file === undefined) return;
    if (file.name.toLowerCase().endsWith(".vtk")) {
      this.onrecording(file);
      return;
    }
    this.#file = file;
    $("kind").value = "file";
    this.#show();
    if (this.#running) this.onstop();
    this.#start();
  }

  #drops() {
    let depth = 0;
    const over = (/** @type {boolean} */ shown) => ($("drop").hidden = !shown);
    addEventListener("dragenter", (event) => {
      event.preventDefault();
      over(++depth > 0);
    });
    addEventListener("dragleave", () => over(--depth > 0));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      over(false);
      this.#take(event.dataTransfer?.files[0]);
    });
  }

  #keep() {
    const kept = { kind: $("kind").value, size: $("size").value, fps: $("fps").value, kbps: $("kbps").value, tokens: $("tokens").value };
    try {
      localStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      // a browser that keeps nothing
    }
  }

  #restore() {
    $("kbps").value = placed(DEFAULT.kbps, LEAST_KBPS, MOST_KBPS);
    $("tokens").value = placed(DEFAULT.tokensPerS, FEWEST, MOST_TOKENS);
    try {
      for (const [id, value] of Object.entries(JSON.parse(localStorage.getItem(KEPT) ?? "{}"))) $(id).value = value;
    } catch {
      // nothing was kept
    }
    for (const id of ["kind", "size", "fps"]) if (!$(id).value) $(id).selectedIndex = 0;
  }
}

/**
 * A slider's place as a number between two bounds, evenly in its logarithm, of two figures.
 *
 * @param {string} place
 * @param {number} least
 * @param {number} most
 */
function scaled(place, least, most) {
  return Number((least * (most / least) ** (Number(place) / PLACES)).toPrecision(2));
}

/** The inverse of `scaled`. @param {number} value @param {number} least @param {number} most */
function placed(value, least, most) {
  return String((PLACES * Math.log(value / least)) / Math.log(most / least));
}
