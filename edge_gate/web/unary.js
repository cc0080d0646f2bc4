// @ts-check
/** What is done to one number: in 32 bits, as onnxruntime does it. */

const { fround } = Math;
const SHIFTED = 12582912; // 1.5 * 2 ** 23: adding it in 32 bits leaves whole numbers, halves to even

/** @param {number} x @param {number} scale @param {number} zero */
export function quantise(x, scale, zero) {
  return nearest(Math.min(Math.max(fround(x / scale), -zero), 255 - zero)) + zero;
}

/** @param {number} code @param {number} scale @param {number} zero */
export function dequantise(code, scale, zero) {
  return fround((code - zero) * scale);
}

/**
 * How two quantised numbers are added: of codes, and the factors that do it to bytes as the kernels store them.
 *
 * @param {number} scaleA @param {number} zeroA @param {number} scaleB @param {number} zeroB
 * @param {number} scaleC @param {number} zeroC
 */
export function add(scaleA, zeroA, scaleB, zeroB, scaleC, zeroC) {
  const [timesA, timesB] = [fround(scaleA / scaleC), fround(scaleB / scaleC)];
  const fixed = fround(zeroC - fround(fround(timesA * zeroA) + fround(timesB * zeroB)));
  const of = (/** @type {number} */ a, /** @type {number} */ b) =>
    nearest(Math.min(Math.max(fround(b * timesB + fround(a * timesA + fixed)), 0), 255));
  return { timesA, timesB, stored: fixed + 128 * (timesA + timesB) - 128, of };
}

/** @param {number} x @returns {number} */
function nearest(x) {
  return fround(fround(x + SHIFTED) - SHIFTED);
}

/** What is not as our networks have it. @param {import("./onnx.js").Step} step @returns {never} */
export function unknown(step) {
  throw new Error(`${step.name || step.op}: this page cannot run ${step.op} as it is there`);
}

/** By the names that ONNX has for them. @type {Record<string, (...numbers: number[]) => number>} */
export const UNARY = {
  Add: (x, y) => fround(x + y),
  Clip: (x, low, high) => Math.min(Math.max(x, low), high),
  Div: (x, y) => fround(x / y),
  Erf: (x) => fround(erf(x)),
  Mul: (x, y) => fround(x * y),
  Relu: (x) => Math.max(x, 0),
  Sigmoid: (x) => fround(1 / (1 + Math.exp(-x))),
  Sub: (x, y) => fround(x - y),
  Tanh: (x) => fround(Math.tanh(x)),
};

/** The error function, to the last places of a double: its series near zero, a continued fraction far from it. */
function erf(/** @type {number} */ x) {
  const size = Math.abs(x);
  if (size > 5) return Math.sign(x);
  if (size < 2.5) {
    let [term, sum] = [x, x];
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = size;
  for (let n = 60; n > 0; n--) fraction = size + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-size * size) / (Math.sqrt(Math.PI) * fraction));
}
