// @ts-check
/**
 * As much of msgpack as the packets need, written as Python's msgpack writes it.
 *
 *     null, booleans, text, Uint8Array, arrays  <-->  nil, bool, str, bin, array
 *     Maps with text keys                       <-->  map (any order of keys survives; plain objects are written too)
 *     7, 2n ** 63n | 0.5, new Float(10)         <-->  int | float
 */

/** Bytes that are not msgpack of this subset, or a value that has none. */
export class MsgpackError extends Error {
  name = "MsgpackError";
}

/** A float that happens to be whole: msgpack tells 10.0 from 10, JavaScript does not. Computes like a number. */
export class Float extends Number {}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {string} why @returns {never} */
const refuse = (why) => {
  throw new MsgpackError(why);
};

/**
 * A value as bytes, nested at most `depth` deep.
 *
 * @param {any} value
 * @param {number} depth
 * @param {number[]} [out] where to go on
 * @returns {number[]}
 */
export function encode(value, depth, out = []) {
  if (depth === 0) refuse("nested too deep");
  if (value === null || typeof value === "boolean") out.push(value === null ? 0xc0 : 0xc2 + Number(value));
  else if (typeof value === "bigint" || Number.isSafeInteger(value)) writeInteger(BigInt(value), out);
  else if (typeof value === "number" || value instanceof Float) {
    out.push(0xcb, ...new Uint8Array(new Float64Array([Number(value)]).buffer).reverse());
  } else if (typeof value === "string") {
    if (/\p{Surrogate}/u.test(value)) refuse("text with half a character in it");
    const bytes = new TextEncoder().encode(value);
    writeLength(bytes.length, [0xa0, 32], 0xd9, 0xda, out);
    bytes.forEach((byte) => out.push(byte));
  } else if (value instanceof Uint8Array) {
    writeLength(value.length, [0, 0], 0xc4, 0xc5, out);
    value.forEach((byte) => out.push(byte));
  } else if (Array.isArray(value)) {
    writeLength(value.length, [0x90, 16], 0, 0xdc, out);
    for (const each of value) encode(each, depth - 1, out);
  } else if (value instanceof Map || Object.getPrototypeOf(value ?? 0) === Object.prototype) {
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    writeLength(entries.length, [0x80, 16], 0, 0xde, out);
    for (const [key, each] of entries) {
      encode(typeof key === "string" ? key : refuse("a key that is not text"), 1, out);
      encode(each, depth - 1, out);
    }
  } else refuse(`a value of type ${typeof value}`);
  return out;
}

/** @param {bigint} value @param {number[]} out */
function writeInteger(value, out) {
  if (value >= -32n && value < 128n) return void out.push(Number(value) & 255);
  const fits = (/** @type {number} */ bits) => (value < 0n ? BigInt.asIntN : BigInt.asUintN)(bits, value) === value;
  const size = [8, 16, 32, 64].find(fits) ?? refuse("an integer beyond 64 bits");
  out.push((value < 0n ? 0xd0 : 0xcc) + Math.log2(size / 8));
  for (let shift = size - 8; shift >= 0; shift -= 8) out.push(Number((value >> BigInt(shift)) & 255n));
}

/** @param {number} length @param {number[]} fix @param {number} tag8 @param {number} tag16 @param {number[]} out */
function writeLength(length, [fix, below], tag8, tag16, out) {
  if (length < below) out.push(fix | length);
  else if (length < 256 && tag8) out.push(tag8, length);
  else if (length < 65536) out.push(tag16, length >> 8, length & 255);
  else refuse(`a length of ${length}`);
}

/**
 * The one value that these bytes hold, nested at most `depth` deep; integers beyond 2 ** 53 become BigInts.
 *
 * @param {Uint8Array} bytes
 * @param {number} depth
 * @returns {any}
 */
export function decode(bytes, depth) {
  const data = Uint8Array.from(bytes);
  const view = new DataView(data.buffer);
  let at = 0;
  const skip = (/** @type {number} */ size) => {
    if (at + size > data.length) refuse("it ends early");
    return (at += size) - size;
  };
  const take = (/** @type {number} */ size) => data.subarray(skip(size), at);
  const unsigned = (/** @type {number} */ size) => take(size).reduce((number, byte) => number * 256 + byte, 0);
  const float = (/** @type {number} */ value) => (Number.isSafeInteger(value) ? new Float(value) : value);
  const long = (/** @type {bigint} */ value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value);
  const text = (/** @type {Uint8Array} */ part) => {
    try {
      return utf8.decode(part);
    } catch {
      return refuse("text that is not UTF-8");
    }
  };
  const array = (/** @type {number} */ count, /** @type {() => any} */ read) => {
    const out = [];
    for (let index = 0; index < count; index++) out.push(read());
    return out;
  };
  const value = (/** @type {number} */ left) => {
    if (left === 0) refuse("nested too deep");
    const entry = () => {
      const key = value(1);
      return [typeof key === "string" ? key : refuse("a key that is not text"), value(left - 1)];
    };
    const map = (/** @type {number} */ count) => new Map(/** @type {any} */ (array(count, entry)));
    const list = (/** @type {number} */ count) => array(count, () => value(left - 1));
    const tag = unsigned(1);
    if (tag < 0x80 || tag >= 0xe0) return tag < 0x80 ? tag : tag - 256;
    if (tag < 0xc0) return tag < 0x90 ? map(tag & 15) : tag < 0xa0 ? list(tag & 15) : text(take(tag & 31));
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: case 0xc3: return tag === 0xc3;
      case 0xc4: case 0xc5: case 0xc6: return take(unsigned(1 << (tag - 0xc4)));
      case 0xca: return float(view.getFloat32(skip(4)));
      case 0xcb: return float(view.getFloat64(skip(8)));
      case 0xcc: case 0xcd: case 0xce: return unsigned(1 << (tag - 0xcc));
      case 0xcf: return long(view.getBigUint64(skip(8)));
      case 0xd0: return view.getInt8(skip(1));
      case 0xd1: return view.getInt16(skip(2));
      case 0xd2: return view.getInt32(skip(4));
      case 0xd3: return long(view.getBigInt64(skip(8)));
      case 0xd9: case 0xda: case 0xdb: return text(take(unsigned(1 << (tag - 0xd9))));
      case 0xdc: case 0xdd: return list(unsigned(2 << (tag - 0xdc)));
      case 0xde: case 0xdf: return map(unsigned(2 << (tag - 0xde)));
      default: return refuse(`0x${tag.toString(16)}, which the packets do not use`);
    }
  };
  const all = value(depth);
  return at === data.length ? all : refuse(`${data.length - at} bytes too many`);
}
