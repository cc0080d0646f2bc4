// @ts-check
/**
 * What the page says of its own state: one sentence a matter, the gravest first, each gone when its cause is.
 *
 *     says.tell("camera", "bad", "The camera was unplugged ...")     says.clear("camera")
 */

/** @typedef {"good" | "warn" | "bad"} Grade */

const ORDER = { bad: 0, warn: 1, good: 2 };

/** A list of sentences in the page. */
export class Says {
  /** @type {Map<string, { grade: Grade, text: string }>} */
  #told = new Map();
  #list;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
  }

  /**
   * Say something of a matter, in place of what was said of it before.
   *
   * @param {string} matter
   * @param {Grade} grade
   * @param {string} text
   */
  tell(matter, grade, text) {
    const before = this.#told.get(matter);
    if (before?.text === text && before.grade === grade) return;
    this.#told.set(matter, { grade, text });
    this.#show();
  }

  /** @param {...string} matters that are settled */
  clear(...matters) {
    const gone = matters.filter((matter) => this.#told.delete(matter));
    if (gone.length) this.#show();
  }

  #show() {
    const sorted = [...this.#told].sort(([, a], [, b]) => ORDER[a.grade] - ORDER[b.grade]);
    const items = sorted.map(([matter, { grade, text }]) => {
      const item = document.createElement("li");
      item.className = grade;
      item.dataset.matter = matter;
      item.textContent = text;
      return item;
    });
    this.#list.replaceChildren(...items);
  }
}
