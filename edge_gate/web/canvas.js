// @ts-check
/**
 * The canvas that both ends hold, and patches to it: twin of vidtok/canvas.py, edits.py and codec.py's `patch`.
 * A canvas is a grid of cells and the gist, numbers of the whole frame.
 *
 *     +----+----+----+        position = [x, y] of the frame in scene pixels
 *     | +--|----|--+ |        cell (row, col) is place row * cols + col of every array,
 *     +-|--+----+--|-+        its numbers are values[place * CHANNELS ...]
 *     | |  frame   | |
 *     +-|--+----+--|-+        a frame that R x C cells cover needs R+1 x C+1 of them
 *     | +--|----|--+ |
 *     +----+----+----+
 *
 * Canvases are values: nobody writes into their arrays, edits make new ones. What does not fit is a RangeError.
 */

import { CHANNELS, EDGES, GIST, GIST_EDGES, GIST_LEVELS, LEVELS } from "./levels.js";

/** Side of a cell in pixels. */
export const CELL = 32;

/** Pixels that both sides of a frame are a multiple of. */
export const UNIT = 16;

/** The longest side of a frame. */
export const MAX_SIDE = 1920;

/** How far from the origin a frame may stand. */
export const MAX_POSITION = 2 ** 30 - 1;

/** How many cells away a move may come from, in each direction. */
export const MOVE_REACH = 8;

/** What happens to a cell in a patch. */
export const Kind = Object.freeze({ KEEP: 0, MOVE: 1, SET: 2, REFINE: 3 });

/**
 * The frame's size in pixels and the cells that can be seen of it.
 *
 * @typedef {object} Grid
 * @property {number} width
 * @property {number} height
 * @property {number} rows of the canvas, the spare one included
 * @property {number} cols of the canvas, the spare one included
 */

/**
 * One version of the shared state.
 *
 * @typedef {object} Canvas
 * @property {Grid} grid
 * @property {number} version
 * @property {readonly [number, number]} position
 * @property {Uint8Array} values CHANNELS a cell, zero on the levels not held
 * @property {Uint8Array} depth levels held; 0 is a cell never seen
 * @property {Uint32Array} changed version of the last edit
 * @property {Uint8Array} gist GIST numbers, zero on the levels not held
 * @property {number} gistDepth levels of the gist held
 */

/**
 * The edits between two versions. `depth` and `values` count where `kind` is SET or REFINE and are zero elsewhere;
 * `move` (dx, dy in cells) counts where `kind` is MOVE. The gist's levels after those told stay as they were.
 *
 * @typedef {object} Patch
 * @property {number} dx pixels that the frame moved to the right
 * @property {number} dy pixels that the frame moved down
 * @property {Uint8Array} kind
 * @property {Uint8Array} depth levels held afterwards
 * @property {Uint8Array} values CHANNELS a cell
 * @property {Int8Array} move two a cell
 * @property {Uint8Array} gist GIST numbers, zero after the levels told
 * @property {number} gistDepth levels of the gist told
 */

/**
 * The grid of a frame.
 *
 * @param {number} width
 * @param {number} height
 * @returns {Grid}
 */
export function makeGrid(width, height) {
  for (const [name, side] of Object.entries({ width, height })) {
    if (side % UNIT !== 0 || side < CELL || side > MAX_SIDE) {
      throw new RangeError(`${name} ${side} is not a multiple of ${UNIT} between ${CELL} and ${MAX_SIDE}`);
    }
  }
  return Object.freeze({ width, height, rows: Math.ceil(height / CELL) + 1, cols: Math.ceil(width / CELL) + 1 });
}

/**
 * Version 0: nothing known, frame and grid aligned. Both ends hold it from the start.
 *
 * @param {Grid} grid
 * @returns {Canvas}
 */
export function blank(grid) {
  const cells = grid.rows * grid.cols;
  return Object.freeze({
    grid,
    version: 0,
    position: /** @type {[number, number]} */ ([0, 0]),
    values: new Uint8Array(cells * CHANNELS),
    depth: new Uint8Array(cells),
    changed: new Uint32Array(cells),
    gist: new Uint8Array(GIST),
    gistDepth: 0,
  });
}

/**
 * A patch that keeps every cell, with arrays of its own to write into.
 *
 * @param {Grid} grid
 * @param {number} [dx]
 * @param {number} [dy]
 * @returns {Patch}
 */
export function noEdits(grid, dx = 0, dy = 0) {
  const cells = grid.rows * grid.cols;
  return {
    dx,
    dy,
    kind: new Uint8Array(cells),
    depth: new Uint8Array(cells),
    values: new Uint8Array(cells * CHANNELS),
    move: new Int8Array(cells * 2),
    gist: new Uint8Array(GIST),
    gistDepth: 0,
  };
}

/**
 * Whether a frame may stand there.
 *
 * @param {number} x
 * @param {number} y
 * @returns {boolean}
 */
export function inScene(x, y) {
  return Number.isInteger(x) && Number.isInteger(y) && Math.max(Math.abs(x), Math.abs(y)) <= MAX_POSITION;
}

/**
 * The same scene seen `dx`, `dy` pixels further right and down; cells that come into view are unknown.
 *
 * @param {Canvas} canvas
 * @param {number} dx
 * @param {number} dy
 * @returns {Canvas}
 */
export function panned(canvas, dx, dy) {
  const [oldX, oldY] = canvas.position;
  const [x, y] = [oldX + dx, oldY + dy];
  if (!inScene(x, y)) throw new RangeError(`position ${x}, ${y} leaves the scene`);
  const down = (y >> 5) - (oldY >> 5);
  const right = (x >> 5) - (oldX >> 5);
  const move = { position: /** @type {[number, number]} */ ([x, y]) };
  if (down === 0 && right === 0) return Object.freeze({ ...canvas, ...move });
  const { grid } = canvas;
  return Object.freeze({
    ...canvas,
    ...move,
    values: shifted(canvas.values, new Uint8Array(canvas.values.length), grid, CHANNELS, down, right),
    depth: shifted(canvas.depth, new Uint8Array(canvas.depth.length), grid, 1, down, right),
    changed: shifted(canvas.changed, new Uint32Array(canvas.changed.length), grid, 1, down, right),
  });
}

/**
 * How much of the grid the frame shows: that many rows and columns from the top left.
 *
 * @param {Canvas} canvas
 * @returns {{ rows: number, cols: number }}
 */
export function visibleSize({ grid, position: [x, y] }) {
  return { rows: ((y & 31) + grid.height + 31) >> 5, cols: ((x & 31) + grid.width + 31) >> 5 };
}

/**
 * The cells of which the frame shows at least one pixel, as ones among zeros.
 *
 * @param {Canvas} canvas
 * @returns {Uint8Array}
 */
export function visible(canvas) {
  const { rows, cols } = visibleSize(canvas);
  const wide = canvas.grid.cols;
  const seen = new Uint8Array(canvas.grid.rows * wide);
  for (let row = 0; row < rows; row++) seen.fill(1, row * wide, row * wide + cols);
  return seen;
}

/**
 * 32 bits over position, gist, depth and values: equal on both ends, or somebody is wrong.
 *
 * @param {Canvas} canvas
 * @returns {number}
 */
export function stateHash(canvas) {
  const head = new DataView(new ArrayBuffer(12));
  [...canvas.position, canvas.gistDepth].forEach((number, index) => head.setInt32(4 * index, number, true));
  const parts = [new Uint8Array(head.buffer), canvas.gist, canvas.depth, canvas.values];
  return parts.reduce((sum, bytes) => crc32(bytes, sum), 0);
}

/**
 * CRC-32 as zlib computes it; `before` is the sum of the bytes that came before these.
 *
 * @param {Uint8Array} bytes
 * @param {number} [before]
 * @returns {number}
 */
export function crc32(bytes, before = 0) {
  let sum = ~before;
  let index = 0;
  for (; index + 4 <= bytes.length; index += 4) {
    sum ^= bytes[index] | (bytes[index + 1] << 8) | (bytes[index + 2] << 16) | (bytes[index + 3] << 24);
    sum = CRC[768 + (sum & 255)] ^ CRC[512 + ((sum >>> 8) & 255)] ^ CRC[256 + ((sum >>> 16) & 255)] ^ CRC[sum >>> 24];
  }
  for (; index < bytes.length; index++) sum = CRC[(sum ^ bytes[index]) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

/** What each byte does to the sum, then what it does when one, two and three more bytes have followed. */
const CRC = new Int32Array(1024);
for (let place = 0; place < CRC.length; place++) {
  let sum = place < 256 ? place : CRC[place - 256];
  for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  CRC[place] = sum;
}

/**
 * The canvas after the edits. A RangeError says that they do not fit the base.
 *
 * @param {Canvas} base
 * @param {Patch} edits
 * @param {number} version
 * @returns {Canvas}
 */
export function patch(base, edits, version) {
  const before = panned(base, edits.dx, edits.dy);
  const after = {
    ...before,
    version,
    values: before.values.slice(),
    depth: before.depth.slice(),
    changed: before.changed.slice(),
    gist: before.gist.slice(),
    gistDepth: Math.max(before.gistDepth, edits.gistDepth),
  };
  if (!(edits.gistDepth <= GIST_LEVELS)) throw new RangeError("an edit names levels that it cannot set");
  after.gist.set(edits.gist.subarray(0, GIST_EDGES[edits.gistDepth]));
  for (let cell = 0; cell < edits.kind.length; cell++) {
    const kind = edits.kind[cell];
    if (edits.depth[cell] > LEVELS) throw new RangeError("an edit names levels that it cannot set");
    if (kind === Kind.KEEP) continue;
    if (kind === Kind.MOVE) {
      copyCell(before, after, moveSource(before, edits, cell), cell);
    } else if (kind === Kind.SET || kind === Kind.REFINE) {
      tell(before, after, edits, cell, kind);
    } else {
      throw new RangeError(`no edit is of kind ${kind}`);
    }
    after.changed[cell] = version;
  }
  return Object.freeze(after);
}

/**
 * @param {Canvas} before
 * @param {Canvas} after
 * @param {Patch} edits
 * @param {number} cell
 * @param {number} kind
 */
function tell(before, after, edits, cell, kind) {
  const held = before.depth[cell];
  const depth = edits.depth[cell];
  const first = kind === Kind.REFINE ? held : 0;
  if (depth <= first) throw new RangeError("an edit names levels that it cannot set");
  if (kind === Kind.REFINE && held === 0) throw new RangeError("a refinement of a cell that was never set");
  const at = cell * CHANNELS;
  if (kind === Kind.SET) after.values.fill(0, at, at + CHANNELS);
  after.values.set(edits.values.subarray(at + EDGES[first], at + EDGES[depth]), at + EDGES[first]);
  after.depth[cell] = depth;
}

/**
 * @param {Canvas} before
 * @param {Patch} edits
 * @param {number} cell
 * @returns {number} where the moved cell stood
 */
function moveSource({ grid, depth }, edits, cell) {
  const dx = edits.move[2 * cell];
  const dy = edits.move[2 * cell + 1];
  if (Math.max(Math.abs(dx), Math.abs(dy)) > MOVE_REACH) {
    throw new RangeError(`a move from further than ${MOVE_REACH} cells away`);
  }
  const source = placeOf(grid, Math.floor(cell / grid.cols) + dy, (cell % grid.cols) + dx);
  if (source < 0 || depth[source] === 0) throw new RangeError("a move from a cell that holds nothing");
  return source;
}

/**
 * The place of a cell in the arrays, or -1 outside the grid.
 *
 * @param {Grid} grid
 * @param {number} row
 * @param {number} col
 * @returns {number}
 */
export function placeOf({ rows, cols }, row, col) {
  return row >= 0 && row < rows && col >= 0 && col < cols ? row * cols + col : -1;
}

/**
 * Values and depth of one cell of a canvas into another canvas.
 *
 * @param {{ values: Uint8Array, depth: Uint8Array }} from
 * @param {{ values: Uint8Array, depth: Uint8Array }} to
 * @param {number} source
 * @param {number} cell
 */
export function copyCell(from, to, source, cell) {
  to.values.set(from.values.subarray(source * CHANNELS, (source + 1) * CHANNELS), cell * CHANNELS);
  to.depth[cell] = from.depth[source];
}

/**
 * Drop `down` rows and `right` columns from the top left (negative: from the other side) into `out`, which is zero.
 *
 * @template {Uint8Array | Uint32Array} T
 * @param {T} array
 * @param {T} out
 * @param {Grid} grid
 * @param {number} size numbers a cell
 * @param {number} down
 * @param {number} right
 * @returns {T}
 */
function shifted(array, out, { rows, cols }, size, down, right) {
  const wide = (cols - Math.abs(right)) * size;
  if (wide <= 0) return out;
  for (let row = Math.max(0, -down); row < rows - Math.max(0, down); row++) {
    const source = ((row + down) * cols + Math.max(0, right)) * size;
    out.set(array.subarray(source, source + wide), (row * cols + Math.max(0, -right)) * size);
  }
  return out;
}
