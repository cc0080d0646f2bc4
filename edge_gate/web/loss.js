// @ts-check
/** The sender's memory of losses, of the last hundred versions or so: transport/sender.py counts them itself. */

const PRIOR_LOST = 0.2; // as if so many had been lost
const PRIOR = 50; // of so many before the first
const FEW = 2; // lost at a time: parity is of no use in an outage
const MEMORY = 4458563631096791n; // over 2 ** 52: 0.99 as a float, what a sample keeps of those before it

/** What was told of versions, the older the less it counts. */
export class Losses {
  #told = 0.0;
  #lost = 0.0;
  #alone = 0.0; // of the lost, those that parity would have saved

  /**
   * Count so many versions more.
   *
   * @param {number} received
   * @param {number} lost
   */
  learn(received, lost) {
    const keep = kept(received + lost);
    this.#told = this.#told * keep + received + lost;
    this.#lost = this.#lost * keep + lost;
    this.#alone = this.#alone * keep + (lost <= FEW ? lost : 0);
  }

  /** The share of versions lost. */
  get share() {
    return (this.#lost + PRIOR_LOST) / (this.#told + PRIOR);
  }

  /** The share of versions lost that parity would have saved. */
  get spared() {
    return this.#alone / (this.#told + PRIOR);
  }
}

/**
 * 0.99 to the power of a whole number, rounded once as Python's is, up to 500 at least: the last bit of `**` differs
 * from engine to engine.
 *
 * @param {number} count
 * @returns {number}
 */
export function kept(count) {
  const power = MEMORY ** BigInt(count); // over 2 ** (52 * count)
  const cut = Math.max(0, 4 * power.toString(16).length - 64);
  const front = power >> BigInt(cut);
  const tail = front << BigInt(cut) === power ? 0n : 1n; // so that a half is only a half where nothing follows
  return Number(front | tail) * 2 ** (cut - 52 * count);
}
