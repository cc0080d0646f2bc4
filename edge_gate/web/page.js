// @ts-check
/**
 * The page: what the user chooses, what is shown, and a sentence for each thing that goes wrong.
 *
 *     Capture --frames--> Stream (worker, path) --steps, events--> plots, heat, figures
 *        |                                   server --picture, answers--> canvas, attention, chat
 *        +--> Costs
 */

import { Api, Refused } from "./api.js";
import { Capture, CaptureError } from "./capture.js";
import { Chat } from "./chat.js";
import { Controls } from "./controls.js";
import { Costs } from "./costs.js";
import { Figures } from "./figures.js";
import { drawAttention, drawHeat } from "./overlay.js";
import { Player } from "./player.js";
import { Says } from "./says.js";
import { Seen } from "./seen.js";
import { Stream } from "./stream.js";

/** @typedef {import("./controls.js").Choice} Choice */

const TOKEN = "vidtok-token"; // in this tab's storage: gone when the tab is
const QUESTIONS = ["what is in the picture?", "is anyone there?", "what came in?", "does anything move?"];
const NOTHING = "Choose what to film and press Start. Or drop a video or a recording here.";
const OPENING = {
  camera: "Opening the camera: allow it for this page …",
  screen: "Choose what to share: a screen, a window or a tab …",
  file: "Opening the file …",
  scene: "The server draws the built-in scene, a few seconds the first time …",
};
const NEW_SESSION_MS = 1500;
const LOOKED_MS = 10_000; // how long it stays in sight where an answer came from
const SHORT_MS = 6000;
const TICK_MS = 500;
const SLOW_TICKS = 12;
const CODEC_MISMATCH = 2; // close codes of transport/PROTOCOL.md
const GOING_AWAY = 7;

const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** All of it, once. */
class Page {
  api = new Api(sessionStorage.getItem(TOKEN));
  says = new Says($("says"));
  costs = new Costs();
  controls = new Controls();
  figures = new Figures();
  capture = new Capture($("video"), (frame, atMs) => this.#frame(frame, atMs), () => this.#ended());
  seen = new Seen(this.api, () => this.watched);
  chat = new Chat(this.api, () => this.watched, (looked) => this.#looked(looked));
  player = new Player(this.api, this.says, (name) => (this.watched = name));
  stream = new Stream(this.api, {
    named: (name) => (this.watched = name),
    waiting: (why) => this.#waiting(why),
    refused: (why) => this.#refused(why),
    event: (event) => this.#event(event),
    step: (step) => this.#step(step),
    loaded: ({ provider }) => this.#loaded(provider),
    failed: (why) => this.#failed(why),
  });

  /** The stream that pictures and answers are of. @type {string | null} */
  #watched = null;
  /** What is filmed now. @type {Choice | null} */
  #choice = null;
  #ready = false;
  #broken = false; // the networks did not load
  #hiddenAt = 0;
  #slow = 0; // ticks for which this device has not kept up
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #lookedTimer;

  get watched() {
    return this.#watched;
  }

  set watched(name) {
    if (name === this.#watched) return;
    this.#watched = name;
    if (name !== null) this.says.clear("watch");
    drawAttention($("attention"), [], 1, 1);
    this.seen.begin();
    this.chat.watch();
    $("version").textContent = name === null ? "" : `The server calls this ${name}.`;
  }

  async begin() {
    this.controls.onstart = (choice) => void this.start(choice);
    this.controls.onstop = () => this.stop();
    this.controls.oncaps = (caps) => {
      this.stream.caps = caps;
      this.figures.caps = caps;
    };
    this.controls.onstreams = () => this.api.streams().catch(() => []);
    this.controls.onwatch = (name) => (this.watched = name);
    this.controls.onrecording = (file) => void this.#replay(file);
    this.controls.begin();
    this.figures.caps = this.controls.caps;
    this.chat.offer(QUESTIONS);
    $("record").addEventListener("click", () => this.#save());
    $("show-heat").addEventListener("change", () => ($("heat").hidden = !$("show-heat").checked));
    $("show-attention").addEventListener("change", () => ($("attention").hidden = !$("show-attention").checked));
    document.addEventListener("visibilitychange", () => this.#visible());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => void this.#plugged());
    setInterval(() => this.#tick(), TICK_MS);
    await this.#comeIn();
  }

  // -- the way in

  async #comeIn() {
    const ticket = location.hash.slice(1);
    if (ticket) {
      history.replaceState(null, "", location.pathname);
      try {
        await this.api.comeIn(ticket);
        this.#keepToken();
      } catch (error) {
        this.says.tell("token", "bad", `${sentence(error)}.`);
      }
    }
    try {
      const about = await this.api.about();
      if (!about.answers) this.chat.offer([]);
      if (about.token && !this.api.token) this.#askForToken();
    } catch (error) {
      this.says.tell("server", "bad", sentence(error));
    }
  }

  #askForToken() {
    $("entry").hidden = false;
    $("entry").onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.api.token = $("token").value.trim();
      this.#keepToken();
      $("entry").hidden = true;
      this.says.clear("token");
    };
  }

  #keepToken() {
    if (this.api.token) sessionStorage.setItem(TOKEN, this.api.token);
  }

  // -- filming

  /** @param {Choice} choice */
  async start(choice) {
    this.stop();
    if (choice.kind === "watch") {
      this.#choice = choice;
      this.controls.running = true;
      this.watched = choice.stream;
      $("camera-empty").textContent = "Nothing is filmed here: the stream comes from elsewhere.";
      if (choice.stream === null) this.says.tell("watch", "warn", "There is no stream on the server yet: start one with `vidtok send`.");
      return;
    }
    if (this.#broken) return; // which was said
    this.#choice = choice;
    this.controls.running = true;
    document.documentElement.style.setProperty("--ratio", `${choice.width} / ${choice.height}`);
    if (!this.#ready) this.says.tell("loading", "good", "Loading the networks, about 5 MB the first time …");
    if (!(await this.#film(choice))) return;
    $("camera-empty").hidden = true;
    this.figures.begin();
    void this.costs.begin(choice);
    this.#newSession(choice);
  }

  /** @param {Choice} choice @returns {Promise<boolean>} whether frames come */
  async #film(choice) {
    this.says.tell("camera", "good", OPENING[/** @type {keyof typeof OPENING} */ (choice.kind)]);
    try {
      await this.capture.start(/** @type {any} */ (choice.kind), choice);
      this.says.clear("camera");
      return this.#choice === choice;
    } catch (error) {
      if (this.#choice !== choice) return false;
      if (!(error instanceof CaptureError)) throw error;
      this.stop();
      this.says.tell("camera", "bad", error.message);
      return false;
    }
  }

  /** @param {Choice} choice */
  #newSession(choice) {
    this.watched = null;
    this.says.tell("path", "good", "Connecting to the server …");
    this.stream.start({ ...choice, name: this.capture.name }, this.controls.caps);
    $("record").disabled = false;
  }

  stop() {
    this.player.stop();
    this.#choice = null;
    this.capture.stop();
    this.stream.stop();
    this.costs.end();
    this.watched = null;
    drawHeat($("heat"), null);
    $("camera-empty").hidden = false;
    $("camera-empty").textContent = NOTHING;
    this.controls.running = false;
    this.says.clear("camera", "path", "loading", "watch", "slow", "model", "hidden");
  }

  /** @param {ImageBitmap} frame @param {number} atMs */
  #frame(frame, atMs) {
    this.costs.count(frame, atMs);
    this.figures.filmed();
    this.stream.frame(frame, atMs);
  }

  #ended() {
    if (this.#choice?.kind === "file") {
      const next = "Ask about it; or press Stop, then Start, to play it again.";
      this.says.tell("camera", "good", `${this.capture.name} is over; what the model knows stays. ${next}`);
      return;
    }
    const what = this.#choice?.kind === "screen" ? "The screen is no longer shared" : "The camera was unplugged or taken away";
    const next = this.#choice?.kind === "screen" ? "Press Stop, then Start, to share again." : "It goes on when a camera is there again.";
    this.says.tell("camera", "bad", `${what}; what the model knows stays. ${next}`);
  }

  /** A device came or went: film again, where ours was lost. */
  async #plugged() {
    const lost = this.#choice?.kind === "camera" && $("video").srcObject === null;
    if (!lost || this.#choice === null) return;
    const devices = await navigator.mediaDevices.enumerateDevices();
    if (devices.some(({ kind }) => kind === "videoinput")) await this.capture.start("camera", this.#choice).then(() => this.says.clear("camera"), () => {});
  }

  #visible() {
    if (document.hidden) {
      this.#hiddenAt = Date.now();
    } else if (this.#hiddenAt && this.#choice !== null) {
      const seconds = Math.round((Date.now() - this.#hiddenAt) / 1000);
      this.says.tell("hidden", "warn", `Back after ${seconds} s in which this tab was hidden: browsers film little or nothing then. It goes on.`);
      setTimeout(() => this.says.clear("hidden"), SHORT_MS);
      this.capture.wake();
    }
  }

  // -- what the stream tells

  /** @param {string} provider */
  #loaded(provider) {
    this.#ready = true;
    this.says.clear("loading");
    $("provider").hidden = false;
    $("provider").textContent = `Runs here on ${provider}`;
  }

  /** @param {string} why */
  #failed(why) {
    this.stop();
    this.#broken = !this.#ready;
    this.says.tell("worker", "bad", `The networks do not run in this tab: ${why}.`);
  }

  /** @param {string} why */
  #waiting(why) {
    this.says.tell("path", "bad", `The server ${why} It is tried again and again; the stream goes on by itself.`);
  }

  /** @param {string} why */
  #refused(why) {
    this.stop();
    this.says.tell("token", "bad", why);
    this.#askForToken();
  }

  /** @param {any} event */
  #event(event) {
    if (event.type === "Connected" || event.type === "Resumed") {
      this.says.clear("path", "token");
      if (this.capture.roll()) this.says.tell("camera", "good", `Playing ${this.capture.name}, once and at its own speed.`);
      if (event.type === "Resumed") this.#shortly("path", "The network is back: the stream goes on where it was.");
    } else if (event.type === "Suspended") {
      this.says.tell("path", "warn", "The network is gone. The stream waits, and goes on by itself when it is back.");
    } else if (event.type === "Wished") {
      this.#wished(event);
    } else if (event.type === "Closed") {
      this.#closed(event);
    }
  }

  /** @param {{ code: number, reason: string }} event */
  #closed({ code, reason }) {
    const choice = this.#choice;
    if (choice === null) return;
    if (code === CODEC_MISMATCH) {
      this.stop();
      this.says.tell("path", "bad", "The server is of another build than this page: reload the page.");
      return;
    }
    const why = code === GOING_AWAY ? "The server went away" : `The stream was ended: ${reason || `code ${code}`}`;
    this.says.tell("path", "warn", `${why}. A new one begins as soon as it can.`);
    setTimeout(() => {
      if (this.#choice === choice) this.#newSession(choice);
    }, NEW_SESSION_MS);
  }

  /** @param {{ tokensPerS: number, interest: number }} wished */
  #wished({ tokensPerS, interest }) {
    const slow = tokensPerS < this.controls.caps.tokensPerS;
    if (slow) this.says.tell("model", "warn", `The server takes ${Math.round(tokensPerS)} tokens a second at most just now: its model reads no faster, or it was told so.`);
    else this.says.clear("model");
    $("seen-note").textContent = interest > 1 ? "it wants to know more" : "drawn from tokens alone";
  }

  /** @param {any} step */
  #step(step) {
    drawHeat($("heat"), step);
    this.figures.step(step);
  }

  /** @param {string} matter @param {string} text */
  #shortly(matter, text) {
    this.says.tell(matter, "good", text);
    setTimeout(() => {
      if (this.#choice !== null && document.querySelector(`[data-matter="${matter}"].good`)) this.says.clear(matter);
    }, SHORT_MS);
  }

  #tick() {
    if (this.#choice === null || this.#choice.kind === "watch") return;
    const { wanted, looked } = this.figures.pace;
    this.#slow = this.#ready && wanted > 4 && looked < 0.6 * wanted ? this.#slow + 1 : 0;
    if (this.#slow > SLOW_TICKS) {
      this.says.tell("slow", "warn", `This device looks at ${looked.toFixed(looked < 2 ? 1 : 0)} of ${wanted.toFixed(0)} frames a second; those between are passed over.`);
    } else if (looked > 0.75 * wanted) {
      this.says.clear("slow");
    }
    this.figures.show(this.costs.now);
  }

  /** @param {[number, number, number, number][]} looked */
  #looked(looked) {
    const { naturalWidth, naturalHeight } = $("seen");
    if (!naturalWidth) return;
    drawAttention($("attention"), looked, naturalWidth, naturalHeight);
    clearTimeout(this.#lookedTimer);
    this.#lookedTimer = setTimeout(() => drawAttention($("attention"), [], naturalWidth, naturalHeight), LOOKED_MS);
  }

  // -- recordings

  #save() {
    const { tape } = this.stream;
    if (tape === null) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(tape.file());
    link.download = `vidtok-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.vtk`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  /** @param {File} file */
  async #replay(file) {
    this.stop();
    await this.player.play(file);
  }
}

/** @param {unknown} error */
function sentence(error) {
  return error instanceof Refused || error instanceof Error ? error.message : String(error);
}

const missing = [
  ["WebRTC", "RTCPeerConnection" in globalThis],
  ["WebAssembly", "WebAssembly" in globalThis],
  ["Worker", "Worker" in globalThis],
  ["OffscreenCanvas", "OffscreenCanvas" in globalThis],
].filter(([, there]) => !there);

if (missing.length) {
  $("too-old").hidden = false;
  $("too-old").textContent =
    `This browser lacks ${missing.map(([name]) => name).join(" and ")}, which this page needs. ` +
    "Any Chrome, Edge, Firefox or Safari of the last three years has them.";
  $("start").disabled = true;
} else {
  void new Page().begin();
}
