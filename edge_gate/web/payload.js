// @ts-check
/**
 * The payload: a patch as bytes, given the base canvas that both ends hold; twin of vidtok/bitstream.py.
 *
 *     pan dx, pan dy | levels of the gist [how much of it changes, its values] | density class
 *     for each visible cell, row by row:
 *         edited?  [operation  [move x, move y] | [the values of the levels told]]
 *
 * One walk serves both directions: it hands every symbol's context, and what the patch says there, to the coder and
 * goes on with the answer. An encoder answers what it was given; a decoder ignores that and fills the patch.
 */

import { Kind, MOVE_REACH, copyCell, inScene, noEdits, panned, patch, placeOf, visibleSize } from "./canvas.js";
import {
  DENSITIES,
  MOVE_SPAN,
  NEIGHBOURS,
  NO_VALUE,
  OPERATIONS,
  PAN_ESCAPE,
  PayloadError,
  RangeDecoder,
  RangeEncoder,
  TURNS,
} from "./entropy.js";
import { CHANNELS, EDGES, GIST, GIST_EDGES, LEVELS, VALUES } from "./levels.js";
import { byLevel } from "./sums.js";

export { PayloadError };

/** @typedef {import("./canvas.js").Canvas} Canvas */
/** @typedef {import("./canvas.js").Patch} Patch */
/** @typedef {import("./entropy.js").Table} Table */
/** @typedef {import("./entropy.js").Tables} Tables */

/**
 * Either end's coder.
 *
 * @typedef {object} Coder
 * @property {(table: Table, context: number, symbol: number) => number} symbol
 * @property {(count: number, value: number) => number} bits
 */

const TURN_SHARES = [10, 25, 50]; // per cent of the gist's held values that change, where the next class begins
const OUT_OF_REACH = 1e6; // bits
const PAN_RAW_BITS = 32; // as far as from one end of the scene to the other, zigzagged
const COST_UNIT = 2 ** 16; // costs are counted in whole 65536ths of a bit

/**
 * A patch as bytes. The base must be the one that the patch was made against; a RangeError when it does not fit.
 *
 * @param {Canvas} base
 * @param {Patch} edits
 * @param {Tables} tables
 * @returns {Uint8Array}
 */
export function encodePayload(base, edits, tables) {
  patch(base, edits, 0); // for its refusals
  const before = panned(base, edits.dx, edits.dy);
  const coder = new RangeEncoder();
  codePan(coder, tables, edits.dx);
  codePan(coder, tables, edits.dy);
  walk(coder, before, edits, tables, cheapestDensity(before, edits, tables));
  return coder.finish();
}

/**
 * Bytes to the patch they tell; a PayloadError for bytes that tell none.
 *
 * @param {Canvas} base
 * @param {Uint8Array} bytes
 * @param {Tables} tables
 * @returns {Patch}
 */
export function decodePayload(base, bytes, tables) {
  const decoder = new RangeDecoder(bytes);
  const dx = codePan(decoder, tables, 0);
  const dy = codePan(decoder, tables, 0);
  if (!inScene(base.position[0] + dx, base.position[1] + dy)) {
    throw new PayloadError(`pan by ${dx}, ${dy} leaves the scene`);
  }
  const edits = noEdits(base.grid, dx, dy);
  walk(decoder, panned(base, dx, dy), edits, tables, 0);
  decoder.finish();
  return edits;
}

/**
 * @param {Coder} coder
 * @param {Tables} tables
 * @param {number} number
 * @returns {number} the offset that was coded
 */
function codePan(coder, tables, number) {
  let zigzag = number >= 0 ? 2 * number : -2 * number - 1;
  const symbol = coder.symbol(tables.pan, 0, Math.min(zigzag, PAN_ESCAPE));
  zigzag = symbol === PAN_ESCAPE ? coder.bits(PAN_RAW_BITS, zigzag) : symbol;
  return zigzag % 2 === 1 ? -(zigzag + 1) / 2 : zigzag / 2;
}

/**
 * @param {Coder} coder
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {Tables} tables
 * @param {number} density
 */
function walk(coder, before, edits, tables, density) {
  const { cols } = before.grid;
  const seen = visibleSize(before);
  const state = new Running(before);
  codeGist(coder, before, edits, tables);
  density = coder.symbol(tables.density, 0, density);
  for (let row = 0; row < seen.rows; row++) {
    for (let col = 0; col < seen.cols; col++) {
      const cell = row * cols + col;
      const context = editedContext(before, edits, row, col);
      const hit = coder.symbol(tables.edited, density * 32 + context, edits.kind[cell] === Kind.KEEP ? 0 : 1);
      if (hit) codeCell(coder, before, edits, tables, state, row, col);
    }
  }
}

/**
 * @param {Coder} coder
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {Tables} tables
 */
function codeGist(coder, before, edits, tables) {
  edits.gistDepth = coder.symbol(tables.gist, before.gistDepth, edits.gistDepth);
  if (edits.gistDepth === 0) return;
  const turn = coder.symbol(tables.turn, 0, turnOf(before, edits));
  const held = GIST_EDGES[before.gistDepth];
  for (let place = 0; place < GIST_EDGES[edits.gistDepth]; place++) {
    const old = place < held ? before.gist[place] : NO_VALUE;
    const context = (place * TURNS + turn) * (VALUES + 1) + old;
    edits.gist[place] = coder.symbol(tables.gistValue, context, edits.gist[place]);
  }
}

/**
 * The class of how many of the gist's held values change; the last one where none is held.
 *
 * @param {Canvas} before
 * @param {Patch} edits
 * @returns {number}
 */
function turnOf(before, edits) {
  const both = GIST_EDGES[Math.min(before.gistDepth, edits.gistDepth)];
  if (both === 0) return TURNS - 1;
  let changed = 0;
  for (let place = 0; place < both; place++) if (before.gist[place] !== edits.gist[place]) changed++;
  return TURN_SHARES.filter((share) => 100 * changed >= share * both).length;
}

/** What a walk remembers: the canvas as told so far, the operation and the move before. */
class Running {
  /** @param {Canvas} before */
  constructor(before) {
    this.values = before.values.slice();
    this.depth = before.depth.slice();
    this.operation = OPERATIONS;
    this.x = MOVE_SPAN;
    this.y = MOVE_SPAN;
  }
}

/**
 * Left, up-left, up and up-right edited, then whether the cell is unknown: as a number from 0 to 31.
 *
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {number} row
 * @param {number} col
 * @returns {number}
 */
function editedContext({ grid: { cols }, depth }, { kind }, row, col) {
  const cell = row * cols + col;
  const above = cell - cols;
  let context = depth[cell] === 0 ? 1 : 0;
  if (col > 0 && kind[cell - 1] !== Kind.KEEP) context += 16;
  if (row > 0) {
    if (col > 0 && kind[above - 1] !== Kind.KEEP) context += 8;
    if (kind[above] !== Kind.KEEP) context += 4;
    if (col + 1 < cols && kind[above + 1] !== Kind.KEEP) context += 2;
  }
  return context;
}

/**
 * @param {Coder} coder
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {Tables} tables
 * @param {Running} state
 * @param {number} row
 * @param {number} col
 */
function codeCell(coder, before, edits, tables, state, row, col) {
  const cell = row * before.grid.cols + col;
  const held = before.depth[cell];
  const context = held * (OPERATIONS + 1) + state.operation;
  const symbol = coder.symbol(tables.operation, context, operationOf(edits, cell));
  state.operation = symbol;
  if (symbol === 0) {
    codeMove(coder, before, edits, tables, state, row, col);
    return;
  }
  const refine = symbol > LEVELS;
  const first = refine ? held : 0;
  const depth = refine ? symbol - LEVELS : symbol;
  if (refine && !(held > 0 && held < depth)) {
    throw new PayloadError(`cell ${row},${col} is refined to level ${depth} with ${held} held`);
  }
  edits.kind[cell] = refine ? Kind.REFINE : Kind.SET;
  edits.depth[cell] = depth;
  codeValues(coder, before, edits, tables.value, state, row, col, first, depth);
  state.depth[cell] = depth;
}

/**
 * @param {Patch} edits
 * @param {number} cell
 * @returns {number} 0 for a move, then set to 1 .., refine to 1 ..
 */
function operationOf(edits, cell) {
  const kind = edits.kind[cell];
  if (kind === Kind.SET) return edits.depth[cell];
  return kind === Kind.REFINE ? LEVELS + edits.depth[cell] : 0;
}

/**
 * @param {Coder} coder
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {Tables} tables
 * @param {Running} state
 * @param {number} row
 * @param {number} col
 */
function codeMove(coder, before, edits, tables, state, row, col) {
  const cell = row * before.grid.cols + col;
  state.x = coder.symbol(tables.moveX, state.x, edits.move[2 * cell] + MOVE_REACH);
  state.y = coder.symbol(tables.moveY, state.y, edits.move[2 * cell + 1] + MOVE_REACH);
  const dx = state.x - MOVE_REACH;
  const dy = state.y - MOVE_REACH;
  const source = placeOf(before.grid, row + dy, col + dx);
  if (source < 0 || source === cell || before.depth[source] === 0) {
    throw new PayloadError(`cell ${row},${col} is moved from ${row + dy},${col + dx}, which holds nothing`);
  }
  edits.kind[cell] = Kind.MOVE;
  edits.move[2 * cell] = dx;
  edits.move[2 * cell + 1] = dy;
  copyCell(before, state, source, cell);
}

/**
 * @param {Coder} coder
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {Table} table
 * @param {Running} state
 * @param {number} row
 * @param {number} col
 * @param {number} first
 * @param {number} depth
 */
function codeValues(coder, before, edits, table, state, row, col, first, depth) {
  const { cols } = before.grid;
  const cell = row * cols + col;
  const held = before.depth[cell];
  const leftDepth = col > 0 ? state.depth[cell - 1] : 0;
  const upDepth = row > 0 ? state.depth[cell - cols] : 0;
  const at = cell * CHANNELS;
  const { values } = state;
  for (let level = first; level < depth; level++) {
    // A neighbour that does not reach this level leaves its part to the other one.
    const alone = leftDepth <= level && upDepth <= level;
    const left = (leftDepth > level ? cell - 1 : cell - cols) * CHANNELS;
    const up = (upDepth > level ? cell - cols : cell - 1) * CHANNELS;
    for (let place = EDGES[level]; place < EDGES[level + 1]; place++) {
      const near = alone ? NEIGHBOURS - 1 : values[left + place] + values[up + place];
      const old = held > level ? before.values[at + place] : NO_VALUE;
      const context = (place * (VALUES + 1) + old) * NEIGHBOURS + near;
      const value = coder.symbol(table, context, edits.values[at + place]);
      edits.values[at + place] = value;
      values[at + place] = value;
    }
  }
}

/**
 * The density class that tells which cells are edited in the fewest bits.
 *
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {Tables} tables
 * @returns {number}
 */
function cheapestDensity(before, edits, tables) {
  const { rows, cols } = before.grid;
  const seen = visibleSize(before);
  const counts = new Uint32Array(64); // of a class's contexts, each not edited and edited
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const hit = edits.kind[row * cols + col] === Kind.KEEP ? 0 : 1;
      if (row < seen.rows && col < seen.cols) counts[2 * editedContext(before, edits, row, col) + hit]++;
      else if (hit) throw new RangeError("an edit of a cell that the frame does not show");
    }
  }
  let [best, least] = [0, Infinity];
  for (let density = 0; density < DENSITIES; density++) {
    let bits = cost(tables.density, 0, density);
    for (let index = 0; index < 64; index++) {
      if (counts[index]) bits += counts[index] * cost(tables.edited, density * 32 + (index >> 1), index & 1);
    }
    if (bits < least) [best, least] = [density, bits];
  }
  return best;
}

/**
 * @param {Table} table
 * @param {number} context
 * @param {number} symbol
 * @returns {number} what the symbol costs, rounded so that no two logarithms can differ
 */
function cost({ symbols, cumulative }, context, symbol) {
  const place = context * (symbols + 1) + symbol;
  return Math.round(COST_UNIT * (12 - Math.log2(cumulative[place + 1] - cumulative[place])));
}

/**
 * About how many bits each level's values would cost now, LEVELS numbers a cell, neighbours taken as in `values`;
 * none for cells that are not `wanted`.
 *
 * @param {Canvas} before
 * @param {Uint8Array} values
 * @param {Uint8Array} wanted
 * @param {Tables} tables
 * @returns {Float32Array}
 */
export function valueCosts(before, values, wanted, tables) {
  const { rows, cols } = before.grid;
  const costs = tables.costs.value;
  const bits = new Float32Array(rows * cols * LEVELS);
  const terms = new Float32Array(CHANNELS);
  for (let row = 0, cell = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, cell++) {
      if (!wanted[cell]) continue;
      const alone = row === 0 && col === 0;
      const at = cell * CHANNELS;
      const left = (col > 0 ? cell - 1 : cell - cols) * CHANNELS; // a side that is not there leaves it to the other
      const up = (row > 0 ? cell - cols : cell - 1) * CHANNELS;
      const held = EDGES[before.depth[cell]];
      for (let place = 0; place < CHANNELS; place++) {
        const near = alone ? NEIGHBOURS - 1 : values[left + place] + values[up + place];
        const old = place < held ? before.values[at + place] : NO_VALUE;
        terms[place] = costs[((place * (VALUES + 1) + old) * NEIGHBOURS + near) * VALUES + values[at + place]];
      }
      byLevel(terms, EDGES, bits, cell * LEVELS);
    }
  }
  return bits;
}

/**
 * Bits of telling each value of the gist, and of repeating the held one (if any is), in each of TURNS classes of change.
 *
 * @param {Canvas} base
 * @param {Uint8Array} values
 * @param {Tables} tables
 * @returns {{ ways: number, told: Float32Array, kept: Float32Array }} one class after the other
 */
export function gistCosts(base, values, tables) {
  const costs = tables.costs.gistValue;
  const held = GIST_EDGES[base.gistDepth];
  const [told, kept] = [new Float32Array(TURNS * GIST), new Float32Array(TURNS * GIST).fill(OUT_OF_REACH)];
  for (let turn = 0, to = 0; turn < TURNS; turn++) {
    for (let place = 0; place < GIST; place++, to++) {
      const old = place < held ? base.gist[place] : NO_VALUE;
      const at = ((place * TURNS + turn) * (VALUES + 1) + old) * VALUES;
      told[to] = costs[at + values[place]];
      if (place < held) kept[to] = costs[at + base.gist[place]];
    }
  }
  return { ways: TURNS, told, kept };
}
