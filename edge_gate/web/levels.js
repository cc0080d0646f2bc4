// @ts-check
/**
 * A cell's numbers and their levels, twin of vidtok/tokenizer/fsq.py.
 *
 *     level      1    2    3    4    5    6
 *     numbers    6    8   16   32   64   64       each 0 .. 7, for a cell of 32x32 pixels
 *
 * The gist is one more set of such numbers, of the whole frame and on levels of its own.
 */

/** How many numbers each level adds. */
export const LEVEL_SIZES = Object.freeze([6, 8, 16, 32, 64, 64]);

/** How many levels there are. */
export const LEVELS = LEVEL_SIZES.length;

/** Level n's numbers are EDGES[n] .. EDGES[n + 1]. */
export const EDGES = edgesOf(LEVEL_SIZES);

/** Numbers of a cell held to the last level. */
export const CHANNELS = EDGES[LEVELS];

/** How many numbers each level adds to the gist. */
export const GIST_SIZES = Object.freeze([16, 32, 64, 128, 256]);

/** How many levels the gist has. */
export const GIST_LEVELS = GIST_SIZES.length;

/** Level n of the gist is numbers GIST_EDGES[n] .. GIST_EDGES[n + 1]. */
export const GIST_EDGES = edgesOf(GIST_SIZES);

/** Numbers of a gist held to its last level. */
export const GIST = GIST_EDGES[GIST_LEVELS];

/** Every number is one of this many values, from 0. */
export const VALUES = 8;

/** The middle of every value's bin in -1 .. 1: what `dequantise` gives. */
export const MIDDLES = Float32Array.from({ length: VALUES }, (_, value) => ((value + 0.5) * 2) / VALUES - 1);

/**
 * Latents in -1 .. 1 as values.
 *
 * @param {Float32Array} latents
 * @returns {Uint8Array}
 */
export function quantise(latents) {
  const out = new Uint8Array(latents.length);
  for (let place = 0; place < out.length; place++) {
    const bin = Math.fround(latents[place] + 1) * (VALUES / 2);
    out[place] = bin <= 0 ? 0 : bin >= VALUES - 1 ? VALUES - 1 : bin;
  }
  return out;
}

/**
 * Values as the latents in the middle of their bins.
 *
 * @param {Uint8Array} values
 * @returns {Float32Array}
 */
export function dequantise(values) {
  const out = new Float32Array(values.length);
  for (let place = 0; place < values.length; place++) out[place] = MIDDLES[values[place]];
  return out;
}

/**
 * @param {readonly number[]} sizes
 * @returns {readonly number[]} where each level begins, and the end of the last one
 */
function edgesOf(sizes) {
  return Object.freeze(sizes.reduce((edges, size) => [...edges, edges[edges.length - 1] + size], [0]));
}
