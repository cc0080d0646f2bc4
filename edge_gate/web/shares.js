// @ts-check
/**
 * Works of a network in shares, which several threads on one memory take one after the other.
 *
 *     works --cut--> shares --take--> this thread does them, and each other that takes too
 *
 * A share is taken only when all works before its own are done: a thread that is kept from running holds up no more than
 * the one share that it is at.
 */

/** @typedef {import("./arena.js").Work} Work */

/**
 * A part of a work, as one thread does it.
 *
 * @typedef {object} Share
 * @property {string | (() => void)} does a kernel, or what only the thread of the plan can do
 * @property {number[]} given what the kernel is given
 * @property {number} after shares that are done before: those of all earlier works
 * @property {number} until shares that are done when its work is
 */

const WORTH_US = 15; // of a share: others cost more than they save
const SHARES = 2; // of a work, for each thread
const BITS = 12; // of the next share's number; above them is its turn's. A turn is told by its first share's word
const LOOKS = 3000; // looks at what the others do before a thread sleeps: some ten microseconds
const LOST_MS = 3000; // a share that takes so long will not be done any more

/** Places in the words that threads share: the next share of which turn, and how many are done. */
const [NEXT, DONE] = [0, 1];

/** Words for threads to agree by. */
export function words() {
  return new Int32Array(new SharedArrayBuffer(8));
}

/** @param {readonly Work[]} works whose maps have their addresses @param {number} threads @returns {Share[]} */
export function cut(works, threads) {
  /** @type {Share[]} */
  const shares = [];
  for (const { does, given, rows, each } of works) {
    const wanted = threads > 1 ? Math.min(rows, SHARES * threads, Math.floor((rows * each) / WORTH_US)) : 1;
    const most = Math.ceil(rows / Math.max(wanted, 1));
    const after = shares.length;
    const until = after + Math.ceil(rows / most);
    for (let from = 0; from < rows; from += most) {
      shares.push({ does, given: given(from, Math.min(most, rows - from)), after, until });
    }
  }
  if (shares.length >= 1 << BITS) throw new RangeError(`${shares.length} shares are too many`);
  return shares;
}

/**
 * Begin the turn after another: who is still at that one finds nothing more in it.
 *
 * @param {Int32Array} at the words
 * @param {number} turn
 */
export function begin(at, turn) {
  const next = (turn + (1 << BITS)) | 0;
  Atomics.store(at, DONE, 0);
  Atomics.store(at, NEXT, next);
  return next;
}

/**
 * Take shares as long as there are any, and do them.
 *
 * @param {Int32Array} at the words
 * @param {number} turn
 * @param {readonly Share[]} shares
 * @param {(share: Share) => void} act
 * @param {boolean} leads it does what has no kernel too, and waits for the others' last shares
 * @returns {boolean} false if the turn is over, or whoever has the others is lost
 */
export function take(at, turn, shares, act, leads) {
  for (;;) {
    const next = Atomics.load(at, NEXT);
    const share = shares[(next - turn) | 0];
    if (share === undefined) return !leads || reached(at, turn, shares.length);
    const mine = leads || typeof share.does === "string";
    if (!reached(at, turn, mine ? share.after : share.until)) return false;
    if (!mine || Atomics.compareExchange(at, NEXT, next, next + 1) !== next) continue;
    act(share);
    if (Atomics.add(at, DONE, 1) + 1 === share.until) Atomics.notify(at, DONE);
  }
}

/**
 * Wait until so many shares are done.
 *
 * @param {Int32Array} at the words
 * @param {number} turn
 * @param {number} count
 * @returns {boolean} false if the turn is over, or whoever has the others is lost
 */
function reached(at, turn, count) {
  for (let look = 0; look < LOOKS; look++) if (Atomics.load(at, DONE) >= count) return true;
  for (;;) {
    const done = Atomics.load(at, DONE);
    if (done >= count) return true;
    if ((Atomics.load(at, NEXT) - turn) >>> BITS > 0) return false;
    if (Atomics.wait(at, DONE, done, LOST_MS) === "timed-out") return false;
  }
}
