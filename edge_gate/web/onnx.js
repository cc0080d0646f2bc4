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
  const reader = new Reader(bytes);
  while (!reader.done) {
    const key = reader.whole();
    let value;
    if ((key & 7) === 0) value = reader.whole();
    else if ((key & 7) === 2) value = reader.take(reader.whole());
    else if ((key & 7) === 5) value = new Float32Array(Uint8Array.from(reader.take(4)).buffer)[0];
    else throw new Error(`an ONNX file has a field of unknown kind ${key & 7}`);
    const values = found.get(key >> 3);
    if (values) values.push(value);
    else found.set(key >> 3, [value]);
  }
  return found;
}

/** Bytes from the first to the last. */
class Reader {
  #bytes;
  #at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
  }

  get done() {
    return this.#at >= this.#bytes.length;
  }

  /** @param {number} count @returns {Uint8Array} */
  take(count) {
    if (count < 0 || count > this.#bytes.length - this.#at) throw new Error("an ONNX file ends too early");
    return this.#bytes.subarray(this.#at, (this.#at += count));
  }

  /** A whole number, seven bits a byte. */
  whole() {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const [byte] = this.take(1);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) break;
    }
    return Number(BigInt.asIntN(64, value));
  }
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
  const [reader, out] = [new Reader(bytes), /** @type {number[]} */ ([])];
  while (!reader.done) out.push(reader.whole());
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
  if (held !== undefined) return [string(parts, 1), tensor(fields(held))];
  if (parts.has(4)) return [string(parts, 1), string(parts, 4)];
  return [string(parts, 1), parts.has(8) ? whole(parts, 8) : (one(parts, 3) ?? one(parts, 2))];
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
