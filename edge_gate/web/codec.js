// @ts-check
/**
 * What a patch is made of, twin of `diff` and `split` in vidtok/codec.py; `patch` is canvas.js's.
 *
 *     values seen now, base canvas, levels wanted --diff--> Patch --split--> patches that each fit a packet
 */

import { Kind, noEdits } from "./canvas.js";
import { CHANNELS, EDGES, GIST_EDGES } from "./levels.js";

/** @typedef {import("./canvas.js").Canvas} Canvas */
/** @typedef {import("./canvas.js").Patch} Patch */

/**
 * The patch that brings `base` to what is wanted.
 *
 * @param {Uint8Array} values seen now
 * @param {Canvas} base
 * @param {object} wanted
 * @param {Uint8Array} wanted.setTo so many levels of each cell afresh; 0 leaves the cell
 * @param {Uint8Array} wanted.refineTo so many with the held ones kept; counts where that is more than is held
 * @param {Uint8Array} wanted.gist
 * @param {number} wanted.gistTo levels of the gist to tell
 * @returns {Patch}
 */
export function diff(values, base, { setTo, refineTo, gist, gistTo }) {
  const out = noEdits(base.grid);
  for (let cell = 0; cell < setTo.length; cell++) {
    const held = base.depth[cell];
    const refined = setTo[cell] === 0;
    const depth = refined ? refineTo[cell] : setTo[cell];
    if (refined && !(held > 0 && depth > held)) continue;
    out.kind[cell] = refined ? Kind.REFINE : Kind.SET;
    out.depth[cell] = depth;
    copyNumbers(values, out.values, cell, refined ? EDGES[held] : 0, EDGES[depth]);
  }
  out.gist.set(gist.subarray(0, GIST_EDGES[gistTo]));
  out.gistDepth = gistTo;
  return out;
}

/**
 * What the model pays: one token an edit, the gist's included.
 *
 * @param {Patch} edits
 * @returns {number}
 */
export function tokensOf({ kind, gistDepth }) {
  let tokens = gistDepth > 0 ? 1 : 0;
  for (let cell = 0; cell < kind.length; cell++) if (kind[cell] !== Kind.KEEP) tokens++;
  return tokens;
}

/**
 * The same edits as a chain of patches: the gist first, cells in raster order, evenly. Edits are those of `diff`.
 *
 * @param {Patch} edits
 * @param {Canvas} base
 * @param {number} parts
 * @returns {Patch[]}
 */
export function split(edits, base, parts) {
  const cells = [...edits.kind.keys()].filter((cell) => edits.kind[cell] !== Kind.KEEP);
  const [share, more] = [Math.floor(cells.length / parts), cells.length % parts];
  let first = 0;
  return Array.from({ length: parts }, (_, number) => {
    const out = noEdits(base.grid);
    if (number === 0) {
      out.gist.set(edits.gist);
      out.gistDepth = edits.gistDepth;
    }
    const end = first + share + (number < more ? 1 : 0);
    for (const cell of cells.slice(first, end)) {
      out.kind[cell] = edits.kind[cell];
      out.depth[cell] = edits.depth[cell];
      copyNumbers(edits.values, out.values, cell, 0, CHANNELS);
    }
    first = end;
    return out;
  });
}

/**
 * @param {Uint8Array} from
 * @param {Uint8Array} to
 * @param {number} cell
 * @param {number} first of its numbers
 * @param {number} end
 */
function copyNumbers(from, to, cell, first, end) {
  const at = cell * CHANNELS;
  to.set(from.subarray(at + first, at + end), at + first);
}
