// @ts-check
/**
 * Sums in float32, in the order in which numpy adds: another order rounds otherwise, and what decides must not differ.
 *
 *     up to 7     one after the other
 *     up to 128   eight sums side by side, then those by twos, then what is left over
 *     more        both halves, each like this
 */

const { fround } = Math;

/** Numbers that are summed side by side in one go. */
const BLOCK = 128;

/**
 * The sum of `count` numbers from place `from` on: numpy's `add.reduce` over the last axis.
 *
 * @param {Float32Array} numbers
 * @param {number} from
 * @param {number} count
 * @returns {number}
 */
export function pairwise(numbers, from, count) {
  if (count > BLOCK) {
    const half = (count >> 1) - ((count >> 1) % 8);
    return fround(pairwise(numbers, from, half) + pairwise(numbers, from + half, count - half));
  }
  const end = from + count;
  let sum = 0;
  let at = from;
  if (count >= 8) {
    let a = numbers[at];
    let b = numbers[at + 1];
    let c = numbers[at + 2];
    let d = numbers[at + 3];
    let e = numbers[at + 4];
    let f = numbers[at + 5];
    let g = numbers[at + 6];
    let h = numbers[at + 7];
    for (at += 8; at + 8 <= end; at += 8) {
      a = fround(a + numbers[at]);
      b = fround(b + numbers[at + 1]);
      c = fround(c + numbers[at + 2]);
      d = fround(d + numbers[at + 3]);
      e = fround(e + numbers[at + 4]);
      f = fround(f + numbers[at + 5]);
      g = fround(g + numbers[at + 6]);
      h = fround(h + numbers[at + 7]);
    }
    sum = fround(fround(fround(a + b) + fround(c + d)) + fround(fround(e + f) + fround(g + h)));
  }
  for (; at < end; at++) sum = fround(sum + numbers[at]);
  return sum;
}

/**
 * The mean of `count` numbers from place `from` on.
 *
 * @param {Float32Array} numbers
 * @param {number} from
 * @param {number} count
 * @returns {number}
 */
export function mean(numbers, from, count) {
  return fround(pairwise(numbers, from, count) / count);
}

/**
 * The sum on each level of one line of numbers, written to `out` from place `at` on: numpy's `add.reduceat`, which
 * adds the sum of a level's others to its first.
 *
 * @param {Float32Array} line
 * @param {readonly number[]} edges level n's numbers are edges[n] .. edges[n + 1]
 * @param {Float32Array} out
 * @param {number} at
 */
export function byLevel(line, edges, out, at) {
  for (let level = 0; level + 1 < edges.length; level++) {
    const first = edges[level];
    out[at + level] = line[first] + pairwise(line, first + 1, edges[level + 1] - first - 1);
  }
}

/**
 * The median: of an even number the mean of the two in the middle.
 *
 * @param {Float32Array} numbers
 * @returns {number}
 */
export function median(numbers) {
  const sorted = numbers.slice().sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : fround(fround(sorted[middle - 1] + sorted[middle]) / 2);
}
