// The other end of test_javascript.py and test_javascript_wire.py; lines.mjs says how it is asked.
//
//     {"do": "decode", "base": canvas, "payload": base64}  -->  {"value": patch} or {"error": name, "message": text}
//
// Arrays of a canvas or a patch are their little-endian bytes in base64.

import * as canvases from "../../edge_gate/web/canvas.js";
import * as entropy from "../../edge_gate/web/entropy.js";
import * as fields from "../../edge_gate/web/fields.js";
import { decodePayload, encodePayload } from "../../edge_gate/web/payload.js";
import * as wire from "../../edge_gate/web/wire.js";
import { answer, fromBase64, fromObject, tagged, toBase64, toObject, untagged } from "./lines.mjs";

/** @type {entropy.Tables} */
let tables;

function toCanvas({ width, height, version, position, values, depth, changed, gist, gist_depth }) {
  return {
    grid: canvases.makeGrid(width, height),
    version,
    position,
    values: fromBase64(values),
    depth: fromBase64(depth),
    changed: new Uint32Array(fromBase64(changed).buffer),
    gist: fromBase64(gist),
    gistDepth: gist_depth,
  };
}

const fromCanvas = (canvas) => ({
  width: canvas.grid.width,
  height: canvas.grid.height,
  version: canvas.version,
  position: canvas.position,
  values: toBase64(canvas.values),
  depth: toBase64(canvas.depth),
  changed: toBase64(canvas.changed),
  gist: toBase64(canvas.gist),
  gist_depth: canvas.gistDepth,
  state_hash: canvases.stateHash(canvas),
  visible: toBase64(canvases.visible(canvas)),
});

const toPatch = ({ pan: [dx, dy], kind, depth, values, move, gist, gist_depth }) => ({
  dx,
  dy,
  kind: fromBase64(kind),
  depth: fromBase64(depth),
  values: fromBase64(values),
  move: new Int8Array(fromBase64(move).buffer),
  gist: fromBase64(gist),
  gistDepth: gist_depth,
});

const fromPatch = (patch) => ({
  pan: [patch.dx, patch.dy],
  kind: toBase64(patch.kind),
  depth: toBase64(patch.depth),
  values: toBase64(patch.values),
  move: toBase64(patch.move),
  gist: toBase64(patch.gist),
  gist_depth: patch.gistDepth,
});

await answer({
  tables: async ({ bytes }) => {
    tables = new entropy.Tables(fromBase64(bytes));
    return toBase64(await tables.digest());
  },
  grid: ({ width, height }) => fromCanvas(canvases.blank(canvases.makeGrid(width, height))),
  pan: ({ base, pan: [dx, dy] }) => fromCanvas(canvases.panned(toCanvas(base), dx, dy)),
  patch: ({ base, patch, version }) => fromCanvas(canvases.patch(toCanvas(base), toPatch(patch), version)),
  encode: ({ base, patch }) => toBase64(encodePayload(toCanvas(base), toPatch(patch), tables)),
  decode: ({ base, payload }) => fromPatch(decodePayload(toCanvas(base), fromBase64(payload), tables)),
  crc32: ({ bytes, before }) => canvases.crc32(fromBase64(bytes), before),
  coder: ({ calls, symbols, cumulative }) => {
    const table = { symbols, cumulative: Uint16Array.from(cumulative) };
    const encoder = new entropy.RangeEncoder();
    for (const [context, symbol] of calls) {
      if (context < 0) encoder.bits(-context, symbol);
      else encoder.symbol(table, context, symbol);
    }
    const bytes = encoder.finish();
    const decoder = new entropy.RangeDecoder(bytes);
    const read = calls.map(([context]) => (context < 0 ? decoder.bits(-context) : decoder.symbol(table, context)));
    decoder.finish();
    return { bytes: toBase64(bytes), read };
  },
  push: ({ packet }) => toBase64(wire.pushPacket(toObject(packet))),
  pull: ({ bytes }) => fromObject(wire.pullPacket(fromBase64(bytes))),
  pack: ({ value }) => toBase64(Uint8Array.from(fields.packMap(untagged(value)))),
  pack_object: ({ value }) => toBase64(Uint8Array.from(fields.packMap(value))),
  unpack: ({ bytes }) => tagged(fields.unpackMap(fromBase64(bytes))),
  varint: ({ value }) => toBase64(Uint8Array.from(fields.pushVarint(value))),
  expand: ({ low, near }) => fields.expand(low, near),
});
