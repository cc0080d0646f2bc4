// @ts-check
/**
 * The fields that packets are made of: numbers, maps, flags. Twin of transport/fields.py.
 *
 * Any bytes give a value or a RemoteProtocolError; what cannot be written is a LocalProtocolError.
 */

import { LocalProtocolError, RemoteProtocolError } from "./errors.js";
import { MsgpackError, decode, encode } from "./msgpack.js";

/** Bytes of the longest packet. */
export const MAX_PACKET = 1100;

/** How deep a map may be nested. */
export const MAX_DEPTH = 8;

const EXTENDED = 128;

/**
 * Values of a map: a Map as it is read, a Map or a plain object as it is written.
 *
 * @typedef {Map<string, any> | Record<string, any>} Values
 */

/**
 * The value at or above 0 that ends in these 16 bits and lies nearest to `near`.
 *
 * @param {number} low
 * @param {number} near a whole number
 * @returns {number}
 */
export function expand(low, near) {
  const value = near - ((near - low + 0x8000) & 0xffff) + 0x8000;
  return value >= 0 ? value : value + 0x10000;
}

/**
 * Seven bits a byte, least significant first, high bit set on all but the last.
 *
 * @param {number} value
 * @returns {number[]}
 */
export function pushVarint(value) {
  if (!isUnsigned(value, 2 ** 32)) throw new LocalProtocolError(`varint ${value} is outside 0 to 2^32-1`);
  const out = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) out.push((value & 0x7f) | 0x80);
  out.push(value);
  return out;
}

/**
 * msgpack of a small map with text keys; a LocalProtocolError for what the peer would refuse.
 *
 * @param {Values} values
 * @param {string} [what]
 * @returns {number[]}
 */
export function packMap(values, what = "map") {
  try {
    const bytes = encode(values, MAX_DEPTH);
    unpackMap(Uint8Array.from(bytes), what);
    return bytes;
  } catch (error) {
    if (error instanceof RemoteProtocolError) throw new LocalProtocolError(error.message);
    if (error instanceof MsgpackError) throw new LocalProtocolError(`${what} has no msgpack: ${error.message}`);
    throw error;
  }
}

/**
 * The inverse of `packMap`, with size and depth bounded.
 *
 * @param {Uint8Array} bytes
 * @param {string} [what]
 * @returns {Map<string, any>}
 */
export function unpackMap(bytes, what = "map") {
  if (bytes.length > MAX_PACKET) {
    throw new RemoteProtocolError(`${what} has ${bytes.length} bytes, the limit is ${MAX_PACKET}`);
  }
  let value;
  try {
    value = decode(bytes, MAX_DEPTH);
  } catch (error) {
    if (error instanceof MsgpackError) throw new RemoteProtocolError(`${what} is not valid: ${error.message}`);
    throw error;
  }
  if (!(value instanceof Map)) throw new RemoteProtocolError(`${what} must be a map`);
  return value;
}

/** Reads a packet's body from its front. */
export class Reader {
  /** @param {Uint8Array} bytes a whole packet */
  constructor(bytes) {
    this.bytes = Uint8Array.from(bytes);
    this.at = 1;
  }

  /**
   * @param {number} size bytes, 4 at most
   * @returns {number}
   */
  unsigned(size) {
    return this.take(size).reduce((value, byte) => value * 256 + byte, 0);
  }

  /**
   * @param {number} size
   * @returns {Uint8Array} so many bytes
   */
  take(size) {
    if (this.at + size > this.bytes.length) {
      const end = this.bytes.length;
      throw new RemoteProtocolError(`packet ends early: ${size} bytes wanted at byte ${this.at} of ${end}`);
    }
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  /**
   * @param {number} bits how many are in use
   * @returns {number}
   */
  flags(bits) {
    const flags = this.unsigned(1);
    if ((flags & ~EXTENDED) >> bits) {
      throw new RemoteProtocolError(`flags ${hex(flags)} set bits that this version reserves`);
    }
    return flags;
  }

  /** @param {number} flags which say whether there is something that a later minor version has added: not ours to know */
  skipExtensions(flags) {
    if (flags & EXTENDED) this.take(this.varint());
  }

  /** @returns {number} a varint in its shortest form */
  varint() {
    const start = this.at;
    let value = 0;
    for (let index = 0; index < 5 && this.at < this.bytes.length; index++) {
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte & 0x80) continue;
      if ((index > 0 && byte === 0) || value >= 2 ** 32) {
        throw new RemoteProtocolError(`varint at byte ${start - 1} is not in its shortest form`);
      }
      return value;
    }
    throw new RemoteProtocolError(`varint at byte ${start - 1} has no end`);
  }

  /** @returns {Uint8Array} all that is left */
  rest() {
    const start = this.at;
    this.at = this.bytes.length;
    return this.bytes.subarray(start);
  }

  /** @param {string} what */
  end(what) {
    const left = this.bytes.length - this.at;
    if (left > 0) throw new RemoteProtocolError(`${what}: ${left} bytes too many`);
  }
}

/** @param {number} flags a byte of them */
export function hex(flags) {
  return `0x${flags.toString(16).padStart(2, "0")}`;
}

/** @param {boolean[]} bits the lowest first */
export function flagsOf(...bits) {
  return bits.reduce((flags, bit, index) => flags | (Number(bit) << index), 0);
}

/** @param {number} value of which the low 16 bits travel */
export function u16(value) {
  return [(value >> 8) & 255, value & 255];
}

/**
 * @param {number} value
 * @param {string} what
 */
export function u32(value, what) {
  if (!isUnsigned(value, 2 ** 32)) throw new LocalProtocolError(`${what} ${value} is outside 0 to 2^32-1`);
  return [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/**
 * @param {number} value
 * @param {number} end
 */
export function isUnsigned(value, end) {
  return Number.isInteger(value) && value >= 0 && value < end;
}
