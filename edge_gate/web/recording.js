// @ts-check
/**
 * Recordings: every packet of a session with its time, in one .vtk file. Twin of transport/adapters/file.py.
 *
 *     magic "VTK\r\n\x1a" | container version | header length u16 | msgpack header | crc32
 *     record *:   0x01 | varint ms since the record before | lane | varint length | bytes | crc32
 *     trailer:    0x00 | record count u32 | crc32 of all before it
 */

import { crc32 } from "./canvas.js";
import { MAX_PACKET, packMap, pushVarint, unpackMap } from "./fields.js";

/** @typedef {import("./fields.js").Values} Values */
/** @typedef {{ timeMs: number, lane: number, data: Uint8Array }} Record */

const MAGIC = Uint8Array.of(0x56, 0x54, 0x4b, 0x0d, 0x0a, 0x1a);
const VERSION = 1;
const MORE = 1;
const END = 0;
const LANES = 3;

/** What a tape holds at most; about a day at 5 kbps. */
export const MOST_BYTES = 64 << 20;

/** The packets of one session, from its beginning. */
export class Tape {
  /** @type {Uint8Array[]} */
  #parts = [];
  #crc = 0;
  #count = 0;
  #timeMs = 0;
  #size = 0;

  /**
   * @param {Values} meta of the greeting
   * @param {Uint8Array} codecHash
   */
  constructor(meta, codecHash) {
    const header = packMap({ codec: [...codecHash].map((byte) => byte.toString(16).padStart(2, "0")).join(""), meta });
    const head = Uint8Array.of(VERSION, header.length >> 8, header.length & 255, ...header);
    this.#put(MAGIC);
    this.#put(head);
    this.#put(u32(crc32(head)));
  }

  /** Bytes so far. */
  get size() {
    return this.#size;
  }

  /**
   * Add one packet; times never fall. What no longer fits is left out.
   *
   * @param {number} timeMs since the beginning
   * @param {number} lane
   * @param {Uint8Array} data
   */
  write(timeMs, lane, data) {
    if (this.#size + data.length > MOST_BYTES) return;
    const time = Math.max(this.#timeMs, Math.round(timeMs));
    const body = Uint8Array.of(...pushVarint(time - this.#timeMs), lane, ...pushVarint(data.length), ...data);
    this.#put(Uint8Array.of(MORE));
    this.#put(body);
    this.#put(u32(crc32(body)));
    this.#timeMs = time;
    this.#count += 1;
  }

  /** The recording as far as it has come, whole. */
  file() {
    const trailer = Uint8Array.of(END, ...u32(this.#count));
    const parts = [...this.#parts, trailer, u32(crc32(trailer, this.#crc))];
    return new Blob(/** @type {BlobPart[]} */ (parts), { type: "application/octet-stream" });
  }

  /** @param {Uint8Array} bytes */
  #put(bytes) {
    this.#parts.push(bytes);
    this.#crc = crc32(bytes, this.#crc);
    this.#size += bytes.length;
  }
}

/**
 * Read a recording; a RangeError says what is wrong with it.
 *
 * @param {Uint8Array} bytes
 * @returns {{ meta: Map<string, any>, codec: string, records: Record[] }}
 */
export function readTape(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = MAGIC.length;
  /** @param {number} size */
  const take = (size) => {
    if (at + size > bytes.length) throw new RangeError("The recording was cut short: copy it again.");
    at += size;
    return at - size;
  };
  /** @param {number} from */
  const check = (from) => {
    const sum = crc32(bytes.subarray(from, at));
    if (view.getUint32(take(4)) !== sum) throw new RangeError("The recording is damaged: copy it again from its source.");
  };
  const varint = () => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes[take(1)];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new RangeError("The recording is damaged: a number makes no sense.");
  };

  if (!MAGIC.every((byte, index) => bytes[index] === byte)) throw new RangeError("This is no vidtok recording (.vtk).");
  const start = take(3);
  if (bytes[start] !== VERSION) throw new RangeError(`Made by a newer version (container ${bytes[start]}): update vidtok.`);
  const header = bytes.slice(take(view.getUint16(start + 1)), at);
  check(start);
  const told = unpackMap(header, "header");
  /** @type {Record[]} */
  const records = [];
  let timeMs = 0;
  while (bytes[take(1)] === MORE) {
    const from = at;
    timeMs += varint();
    const lane = bytes[take(1)];
    const length = varint();
    if (lane >= LANES || length > MAX_PACKET) throw new RangeError("The recording is damaged: a record makes no sense.");
    const data = bytes.slice(take(length), at);
    check(from);
    records.push({ timeMs, lane, data });
  }
  if (view.getUint32(take(4)) !== records.length) throw new RangeError("The recording is damaged: its end is wrong.");
  return { meta: told.get("meta"), codec: told.get("codec"), records };
}

/** @param {number} value */
function u32(value) {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}
