// @ts-check
/**
 * Reads an ONNX file: what its networks have, and no more of the format than that.
 *
 *     bytes --fields--> graph: nodes in the order in which they run, stored numbers by name
 */

/**
 * @typedef {object} Stored
 * @property {number[]} dims
 * @property {Float32Array | Int8Array | Uint8Array | Int32Array} data
 */

/**
 * @typedef {object} Step one node of a graph
 * @property {string} op
 * @property {string} name
 * @property {string[]} inputs
 * @property {string[]} outputs
 * @property {Record<string, any>} attributes
 */

/**
 * @typedef {object} Graph
 * @property {Step[]} steps
 * @property {Map<string, Stored>} stored
 * @property {string[]} inputs
 * @property {string[]} outputs
 */

/** What ONNX numbers its types by, and how each lies in memory. @type {Record<number, any>} */
const TYPES = { 1: Float32Array, 2: Uint8Array, 3: Int8Array, 6: Int32Array, 7: BigInt64Array };

const text = new TextDecoder();

/**
 * @param {Uint8Array} bytes
 * @returns {Graph}
 */
export function readOnnx(bytes) {
  const graph = one(fields(bytes), 7);
  if (graph === undefined) throw new Error("not an ONNX file: it has no graph");
  const parts = fields(graph);
  const tensors = all(parts, 5).map((part) => tensor(fields(part)));
  return {
    steps: all(parts, 1).map((part) => step(fields(part))),
    stored: new Map(tensors.map(({ name, ...stored }) => [name, stored])),
    inputs: all(parts, 11).map((part) => string(fields(part), 1)),
    outputs: all(parts, 12).map((part) => string(fields(part), 1)),
  };
}

/** @typedef {Map<number, any[]>} Fields the values of each field, by its number: bytes or whole numbers */

/**
 * @param {Uint8Array} bytes
 * @returns {Fields}
 */
function fields(bytes) {
  const found = new Map();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (at >= bytes.length) throw new Error("an ONNX file ends too early");
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  while (at < bytes.length) {
    const key = varint();
    let value;
    if ((key & 7) === 0) value = varint();
    else if ((key & 7) === 2) {
      const size = varint();
      if (size > bytes.length - at) throw new Error("an ONNX file ends too early");
      value = bytes.subarray(at, (at += size));
    } else if ((key & 7) === 5) {
      value = view.getFloat32(at, true);
      at += 4;
    } else throw new Error(`an ONNX file has a field of unknown kind ${key & 7}`);
    const values = found.get(key >> 3);
    if (values) values.push(value);
    else found.set(key >> 3, [value]);
  }
  return found;
}

/** @param {Fields} parts @param {number} number @returns {any[]} */
function all(parts, number) {
  return parts.get(number) ?? [];
}

/** @param {Fields} parts @param {number} number @returns {any} */
function one(parts, number) {
  return parts.get(number)?.[0];
}

/** @param {Fields} parts @param {number} number @returns {string} */
function string(parts, number) {
  return text.decode(one(parts, number) ?? new Uint8Array());
}

/** Whole numbers, one after the other or packed. @param {Fields} parts @param {number} number @returns {number[]} */
function whole(parts, number) {
  return all(parts, number).flatMap((value) => (typeof value === "number" ? [value] : unpacked(value)));
}

/** @param {Uint8Array} bytes @returns {number[]} */
function unpacked(bytes) {
  const out = [];
  for (let at = 0; at < bytes.length; ) {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) break;
    }
    out.push(Number(BigInt.asIntN(64, value)));
  }
  return out;
}

/** @param {Fields} parts @returns {Step} */
function step(parts) {
  return {
    op: string(parts, 4),
    name: string(parts, 3),
    inputs: all(parts, 1).map((name) => text.decode(name)),
    outputs: all(parts, 2).map((name) => text.decode(name)),
    attributes: Object.fromEntries(all(parts, 5).map((part) => attribute(fields(part)))),
  };
}

/** @param {Fields} parts @returns {[string, any]} */
function attribute(parts) {
  const held = one(parts, 5);
  const value = held !== undefined ? tensor(fields(held)) : parts.has(8) ? whole(parts, 8) : (one(parts, 3) ?? one(parts, 2));
  return [string(parts, 1), value];
}

/** @param {Fields} parts @returns {Stored & { name: string }} */
function tensor(parts) {
  const kind = TYPES[one(parts, 2)];
  if (kind === undefined) throw new Error(`an ONNX file stores numbers of unknown type ${one(parts, 2)}`);
  const raw = one(parts, 9);
  let data;
  if (raw !== undefined) data = new kind(Uint8Array.from(raw).buffer);
  else if (kind === Float32Array) data = floats(all(parts, 4));
  else data = kind.from(whole(parts, 5));
  return { name: string(parts, 8), dims: whole(parts, 1), data };
}

/** @param {any[]} values numbers, or bytes of many @returns {Float32Array} */
function floats(values) {
  return Float32Array.from(
    values.flatMap((value) => (typeof value === "number" ? [value] : [...new Float32Array(Uint8Array.from(value).buffer)])),
  );
}
