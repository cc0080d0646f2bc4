// @ts-check
/**
 * A cell's numbers and their levels, twin of vidtok/tokenizer/fsq.py.
 *
 *     level      1    2    3    4    5    6
 *     numbers    6    8   16   32   64   64       each 0 .. 7, for a cell of 32x32 pixels
 */

/** How many numbers each level adds. */
export const LEVEL_SIZES = Object.freeze([6, 8, 16, 32, 64, 64]);

/** How many levels there are. */
export const LEVELS = LEVEL_SIZES.length;

/** Level n's numbers are EDGES[n] .. EDGES[n + 1]. */
export const EDGES = Object.freeze(
  LEVEL_SIZES.reduce((edges, size) => [...edges, edges[edges.length - 1] + size], [0]),
);

/** Numbers of a cell held to the last level. */
export const CHANNELS = EDGES[LEVELS];

/** Every number is one of this many values, from 0. */
export const VALUES = 8;
