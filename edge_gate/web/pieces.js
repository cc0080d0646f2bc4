// @ts-check
/** Payloads as packets carry them: whole or in pieces, and their parity. Twin of transport/pieces.py, for a sender. */

/** @typedef {import("./config.js").SessionConfig} SessionConfig */
/** @typedef {import("./wire.js").Part} Part */

/**
 * A payload as packets carry it, with its parity where that is wanted and fits a packet.
 *
 * @param {Uint8Array} payload
 * @param {SessionConfig} config
 * @param {boolean} parity
 * @returns {[Part | null, Uint8Array][]}
 */
export function inPieces(payload, { maxPayload, maxPiece }, parity) {
  const size = payload.length;
  const count = size > maxPayload ? Math.ceil(size / maxPiece) : 1;
  const whole = Math.ceil(size / count);
  const pieces = Array.from({ length: count }, (_, index) => payload.subarray(index * whole, (index + 1) * whole));
  /** @type {[Part | null, Uint8Array][]} */
  const out = pieces.map((piece, index) => [count === 1 ? null : { index, count, size }, piece]);
  if (parity && size > 0 && whole <= maxPiece) out.push([{ index: count, count, size }, fold(pieces, whole)]);
  return out;
}

/**
 * All pieces, filled up with zeros to `whole` bytes, one XOR the other.
 *
 * @param {Uint8Array[]} pieces
 * @param {number} whole
 * @returns {Uint8Array}
 */
function fold(pieces, whole) {
  const folded = new Uint8Array(whole);
  for (const piece of pieces) piece.forEach((byte, at) => (folded[at] ^= byte));
  return folded;
}

/**
 * Whether this is the parity, which nobody misses where all else arrives.
 *
 * @param {Part | null} part
 * @returns {boolean}
 */
export function spare(part) {
  return part !== null && part.index === part.count;
}
