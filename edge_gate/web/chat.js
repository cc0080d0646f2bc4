// @ts-check
/**
 * Questions about a stream and their answers, word by word; conditions that the server tells of.
 *
 *     question --Api.ask--> words ... answer, where it looked          asking again, or Stop, interrupts
 *     condition --Api.tellMe--> "is anyone there?" became yes, until it is switched off
 */

import { Refused } from "./api.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {[number, number, number, number][]} Looked */

const AGAIN_MS = 3000;
const SLOW_MS = 2000; // without a word
const SLOW = "The model takes its time; the stream goes on. Stop, or another question, ends this one.";

/** The box of questions and answers. */
export class Chat {
  /** @type {AbortController | null} */
  #asking = null;
  /** @type {AbortController | null} */
  #watching = null;
  #api;
  #stream;
  #onLooked;
  #log = element("log");
  #send = element("send");
  #stop = element("stop");
  #question = /** @type {HTMLInputElement} */ (element("question"));
  #alert = /** @type {HTMLInputElement} */ (element("alert"));
  #condition = /** @type {HTMLInputElement} */ (element("condition"));

  /**
   * @param {Api} api
   * @param {() => string | null} stream that is asked about
   * @param {(looked: Looked) => void} onLooked
   */
  constructor(api, stream, onLooked) {
    this.#api = api;
    this.#stream = stream;
    this.#onLooked = onLooked;
    element("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.ask(this.#question.value);
    });
    this.#stop.addEventListener("click", () => this.#asking?.abort());
    element("alerts").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#alert.checked = true;
      this.watch();
    });
    this.#alert.addEventListener("change", () => this.watch());
    this.#condition.addEventListener("change", () => this.watch());
  }

  /** @param {string[]} questions offered to begin with */
  offer(questions) {
    const buttons = questions.map((text) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => void this.ask(text));
      return button;
    });
    element("chips").replaceChildren(...buttons);
  }

  /** @param {string} text */
  async ask(text) {
    const wanted = text.trim();
    if (!wanted) return;
    this.#asking?.abort();
    const stream = this.#stream();
    const [entry, answer, how] = this.#entry(wanted);
    if (stream === null) {
      this.#settle(entry, how, "There is no stream yet: press Start first.");
      return;
    }
    const asking = (this.#asking = new AbortController());
    this.#question.value = "";
    this.#stop.hidden = false;
    const began = performance.now();
    let first = 0;
    let slow = this.#patience(how);
    try {
      for await (const told of this.#api.ask(wanted, stream, asking.signal)) {
        if (told.error !== undefined) throw new Refused(0, told.error);
        clearTimeout(slow);
        if (told.word !== undefined) {
          how.textContent = "";
          slow = this.#patience(how);
          first = first || performance.now() - began;
          answer.textContent = (answer.textContent + told.word).trimStart();
        }
        if (told.answer !== undefined) {
          this.#onLooked(told.looked ?? []);
          const sure = told.sure !== undefined && told.sure < 1 ? `, ${Math.round(told.sure * 100)}% sure` : "";
          this.#settle(entry, how, `first word after ${Math.round(first)} ms${sure}`);
        }
        this.#log.scrollTop = this.#log.scrollHeight;
      }
      if (entry.classList.contains("waits")) this.#settle(entry, how, "The stream ended before the answer did.");
    } catch (error) {
      const why = error instanceof Refused ? error.message : asking.signal.aborted ? "interrupted" : "The answer broke off: the connection was lost.";
      this.#settle(entry, how, why);
    } finally {
      clearTimeout(slow);
      if (this.#asking === asking) {
        this.#asking = null;
        this.#stop.hidden = true;
      }
    }
  }

  /** Say so where no word comes. @param {HTMLElement} how */
  #patience(how) {
    return setTimeout(() => (how.textContent = SLOW), SLOW_MS);
  }

  /** Wait for the condition, as the switch says; called again where the stream is another one. */
  watch() {
    this.#watching?.abort();
    this.#watching = null;
    const [stream, condition] = [this.#stream(), this.#condition.value.trim()];
    if (!this.#alert.checked || stream === null || !condition) return;
    const watching = (this.#watching = new AbortController());
    void this.#wait(condition, stream, watching);
  }

  /** @param {string} condition @param {string} stream @param {AbortController} watching */
  async #wait(condition, stream, watching) {
    try {
      for await (const told of this.#api.tellMe(condition, stream, watching.signal)) {
        if (told.error !== undefined) throw new Refused(0, told.error);
        this.#notice(`${new Date().toLocaleTimeString()}  ${told.condition} Yes, ${Math.round((told.sure ?? 0) * 100)}% sure.`);
      }
    } catch (error) {
      if (watching.signal.aborted) return;
      if (error instanceof Refused && error.status > 0 && error.status !== 404) {
        this.#alert.checked = false;
        this.#notice(error.message);
        return;
      }
    }
    if (watching.signal.aborted) return;
    setTimeout(() => {
      if (this.#watching === watching) this.watch();
    }, AGAIN_MS);
  }

  /** @param {string} text */
  #notice(text) {
    const line = document.createElement("p");
    line.className = "noticed";
    line.textContent = text;
    this.#add(line);
  }

  /** @param {string} text @returns {[HTMLElement, HTMLElement, HTMLElement]} */
  #entry(text) {
    const entry = document.createElement("div");
    entry.className = "said waits";
    const [question, answer, how] = ["q", "a", "how"].map((name) => {
      const line = document.createElement("p");
      line.className = name;
      entry.append(line);
      return line;
    });
    question.textContent = text;
    this.#add(entry);
    return [entry, answer, how];
  }

  /** @param {HTMLElement} entry */
  #add(entry) {
    element("hint").hidden = true;
    this.#log.append(entry);
    while (this.#log.children.length > 60) this.#log.children[1].remove();
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** @param {HTMLElement} entry @param {HTMLElement} how @param {string} text */
  #settle(entry, how, text) {
    entry.classList.remove("waits");
    how.textContent = text;
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/** @param {string} id @returns {HTMLElement} */
function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
