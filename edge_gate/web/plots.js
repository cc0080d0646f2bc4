// @ts-check
/**
 * Small live plots: the newest value in figures, the last half minute as a line, a limit as a dashed one.
 */

const SPAN_MS = 30_000;

/** @typedef {{ name: string, unit: string, title: string, digits?: number, least?: number }} Look */

/** One figure over time. */
export class Plot {
  /** @type {[number, number][]} */
  #points = [];
  /** @type {number | null} */
  #limit = null;
  #waiting = false;
  #value;
  #canvas;
  #look;

  /**
   * @param {HTMLElement} place that it is added to
   * @param {Look} look
   */
  constructor(place, look) {
    this.#look = look;
    const box = document.createElement("div");
    box.className = "plot";
    box.title = look.title;
    const name = document.createElement("p");
    name.className = "name";
    name.textContent = look.name;
    const line = document.createElement("p");
    line.className = "value";
    this.#value = document.createElement("b");
    this.#value.textContent = "–";
    const unit = document.createElement("span");
    unit.textContent = ` ${look.unit}`;
    line.append(this.#value, unit);
    this.#canvas = document.createElement("canvas");
    this.#canvas.setAttribute("aria-hidden", "true");
    box.append(name, line, this.#canvas);
    place.append(box);
    new ResizeObserver(() => this.#soon()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#soon());
  }

  /** @param {number | null} value that must not be passed */
  set limit(value) {
    this.#limit = value;
    this.#soon();
  }

  /** @param {number} value */
  push(value) {
    const now = performance.now();
    this.#points.push([now, value]);
    while (this.#points[0][0] < now - SPAN_MS) this.#points.shift();
    this.#value.textContent = value.toFixed(value >= 100 ? 0 : this.#look.digits ?? 0);
    this.#soon();
  }

  /** Begin anew. */
  clear() {
    this.#points = [];
    this.#value.textContent = "–";
    this.#soon();
  }

  #soon() {
    if (this.#waiting || document.hidden) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  #draw() {
    const scale = devicePixelRatio || 1;
    const [wide, high] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    this.#canvas.width = Math.round(wide * scale);
    this.#canvas.height = Math.round(high * scale);
    const to = this.#canvas.getContext("2d");
    if (to === null || wide === 0) return;
    to.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const [accent, line] = ["--accent", "--line"].map((name) => style.getPropertyValue(name));
    const seen = Math.max(this.#look.least ?? 1, ...this.#points.map(([, value]) => value));
    const most = this.#limit !== null && this.#limit < 3 * seen ? Math.max(seen, this.#limit) : seen;
    const y = (/** @type {number} */ value) => high - 1.5 - (high - 4) * Math.min(1, value / most);
    to.strokeStyle = line;
    to.beginPath();
    to.moveTo(0, high - 0.5);
    to.lineTo(wide, high - 0.5);
    to.stroke();
    if (this.#limit !== null && this.#limit <= most) {
      to.save();
      to.setLineDash([3, 3]);
      to.strokeStyle = style.getPropertyValue("--quiet");
      to.beginPath();
      to.moveTo(0, y(this.#limit));
      to.lineTo(wide, y(this.#limit));
      to.stroke();
      to.restore();
    }
    if (this.#points.length < 2) return;
    const now = this.#points[this.#points.length - 1][0];
    const x = (/** @type {number} */ at) => wide - ((now - at) / SPAN_MS) * wide;
    to.beginPath();
    this.#points.forEach(([at, value], index) => (index ? to.lineTo(x(at), y(value)) : to.moveTo(x(at), y(value))));
    to.strokeStyle = accent;
    to.lineWidth = 1.5;
    to.lineJoin = "round";
    to.stroke();
    to.lineTo(x(now), high - 1);
    to.lineTo(x(this.#points[0][0]), high - 1);
    to.globalAlpha = 0.12;
    to.fillStyle = accent;
    to.fill();
  }
}
