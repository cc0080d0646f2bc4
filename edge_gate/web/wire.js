// @ts-check
/**
 * Packets and their bytes, twin of transport/wire.py; transport/PROTOCOL.md is the norm.
 *
 *     byte 0:  protocol version (high nibble) | packet type (low nibble)
 *
 * `pushPacket` and `pullPacket` are each other's inverse. A packet is a plain object with its `type`'s name. Any bytes
 * give a packet or a RemoteProtocolError; a packet that cannot be written is a LocalProtocolError.
 */

import { LocalProtocolError, RemoteProtocolError, UnknownTypeError, UnknownVersionError } from "./errors.js";
import { MAX_PACKET, Reader, flagsOf, hex, isUnsigned, packMap, pushVarint, u16, u32, unpackMap } from "./fields.js";

/** @typedef {import("./fields.js").Values} Values */

/** The version in byte 0's high nibble. */
export const PROTOCOL_VERSION = 1;

/** How many versions back the base of a delta may lie. */
export const MAX_DISTANCE = 2 ** 14 - 1;

/** Bytes of the longest reason. */
export const MAX_REASON = 200;

/** Bytes of the longest name of a codec. */
export const MAX_CODEC_HASH = 64;

/** How long an acknowledgement can say that it was held; longer is said as this. */
export const MAX_HOLD_MS = 2 ** 16 - 1;

/** An acknowledgement's `received` without a gap. */
export const ALL_ARRIVED = 2 ** 32 - 1;

/** Bytes of a session's name. */
export const SESSION_ID_BYTES = 16;

/** The most pieces that a payload is cut into. */
export const MAX_PARTS = 32;

/** The key in a Feedback that says how many bits a second the receiver's application takes. */
export const LIMIT_KEY = "~rate";

/** What an end can do beyond the least; both ends use what both have. */
export const Feature = Object.freeze({ PARTS: 1, PARITY: 2, CLOCK: 4, RESUME: 8 });

/** Why a session ended; 64 to 255 are the application's. */
export const CloseCode = Object.freeze({
  NORMAL: 0,
  VERSION_MISMATCH: 1,
  CODEC_MISMATCH: 2,
  PROTOCOL_ERROR: 3,
  DEAD_PEER: 4,
  HANDSHAKE_TIMEOUT: 5,
  BUSY: 6,
  GOING_AWAY: 7,
  LINK_LOST: 8,
});

/**
 * Hello: what I am and what I speak, repeated until a Welcome or a Close comes. Welcome: the answer. With `resumed` a
 * Hello's sender has sent versions of this session over a path that is gone, and a Welcome's still holds them.
 *
 * @typedef {object} Greeting
 * @property {"Hello" | "Welcome"} type
 * @property {Uint8Array} sessionId
 * @property {"sender" | "receiver"} role
 * @property {Uint8Array} codecHash
 * @property {Values} [meta]
 * @property {number | bigint} [wallMs]
 * @property {number} [features]
 * @property {boolean} [resumed]
 */

/**
 * Which piece of a payload of `size` bytes this is: all are ceil(size / count) long, the last what is left. Piece
 * `count` is the parity: all pieces, filled up with zeros, one XOR the other.
 *
 * @typedef {{index: number, count: number, size: number}} Part
 */

/**
 * A patch to `version` from `version - distance`; distance 0 stands for the blank version 0. With `part`, `payload` is
 * a piece of it. With `answer` the sender wants an acknowledgement at once, with the clock.
 *
 * @typedef {object} Delta
 * @property {"Delta"} type
 * @property {number} version
 * @property {number} distance
 * @property {number} captureMs
 * @property {Uint8Array} payload
 * @property {number | null} [stateHash]
 * @property {boolean} [anchor]
 * @property {boolean} [answer]
 * @property {Part | null} [part]
 */

/**
 * What the receiver has: `applied` null is the blank state, `missing` a delta whose base it lacks. Bit i of `received`
 * says that version `newest - 1 - i` arrived, or that there is none so low: `ALL_ARRIVED` has no gap, even early on.
 * `holdMs` is how long ago `newest` arrived, `clockMs` the receiver's own clock at that time.
 *
 * @typedef {object} Ack
 * @property {"Ack"} type
 * @property {number | null} [applied]
 * @property {number | null} [newest]
 * @property {number} [received]
 * @property {number} [holdMs]
 * @property {number | null} [missing]
 * @property {number | null} [clockMs]
 */

/**
 * The sender's claim when idle: you should be showing `version` (null: blank), which hashes to this. With `answer` it
 * wants an acknowledgement even if that is right.
 *
 * @typedef {object} Heartbeat
 * @property {"Heartbeat"} type
 * @property {number | null} [version]
 * @property {number | null} [stateHash]
 * @property {boolean} [answer]
 */

/**
 * A map from the receiver's application; a higher `number` replaces a lower one.
 *
 * @typedef {object} Feedback
 * @property {"Feedback"} type
 * @property {number} number
 * @property {Values} [values]
 */

/**
 * The receiver wants everything again from blank; one `number` is served once, however often it comes.
 *
 * @typedef {object} RefreshRequest
 * @property {"RefreshRequest"} type
 * @property {number} number
 * @property {string} [reason]
 */

/**
 * The end. Its layout is the same in every protocol version.
 *
 * @typedef {object} Close
 * @property {"Close"} type
 * @property {number} code
 * @property {string} [reason]
 */

/** @typedef {Greeting | Delta | Ack | Heartbeat | Feedback | RefreshRequest | Close} Packet */

/** @typedef {Packet["type"]} PacketType */

/** @type {Record<PacketType, [number, (packet: any) => ArrayLike<number>, (reader: Reader) => object]>} */
const TYPES = {
  Hello: [1, pushGreeting, pullGreeting],
  Welcome: [2, pushGreeting, pullGreeting],
  Delta: [3, pushDelta, pullDelta],
  Ack: [4, pushAck, pullAck],
  Heartbeat: [5, pushHeartbeat, pullHeartbeat],
  Feedback: [6, pushFeedback, pullFeedback],
  RefreshRequest: [7, pushRefreshRequest, pullRefreshRequest],
  Close: [8, pushClose, pullClose],
};
const NAMES = new Map(Object.entries(TYPES).map(([name, [number]]) => [number, /** @type {PacketType} */ (name)]));

/**
 * The bytes of a packet; a LocalProtocolError when it does not fit or holds what cannot be sent.
 *
 * @param {Packet} packet
 * @returns {Uint8Array}
 */
export function pushPacket(packet) {
  if (!Object.hasOwn(TYPES, packet.type)) throw new LocalProtocolError(`no packet is of type ${packet.type}`);
  const [number, push] = TYPES[packet.type];
  const body = push(packet);
  if (body.length + 1 > MAX_PACKET) {
    throw new LocalProtocolError(`${packet.type} of ${body.length + 1} bytes, the limit is ${MAX_PACKET}`);
  }
  const bytes = new Uint8Array(body.length + 1);
  bytes[0] = (PROTOCOL_VERSION << 4) | number;
  bytes.set(body, 1);
  return bytes;
}

/**
 * The packet that these bytes are; a RemoteProtocolError says what is wrong with them.
 *
 * @param {Uint8Array} bytes
 * @returns {Packet}
 */
export function pullPacket(bytes) {
  if (bytes.length === 0) throw new RemoteProtocolError("empty packet");
  if (bytes.length > MAX_PACKET) {
    throw new RemoteProtocolError(`packet of ${bytes.length} bytes, the limit is ${MAX_PACKET}`);
  }
  const version = bytes[0] >> 4;
  const type = NAMES.get(bytes[0] & 15);
  if (version !== PROTOCOL_VERSION && type !== "Close") {
    throw new UnknownVersionError(`peer speaks protocol version ${version}, we speak ${PROTOCOL_VERSION}`);
  }
  if (type === undefined) throw new UnknownTypeError(`unknown packet type ${bytes[0] & 15}`);
  const reader = new Reader(bytes);
  const fields = TYPES[type][2](reader);
  reader.end(type === "Hello" || type === "Welcome" ? "greeting" : type.toLowerCase());
  return /** @type {Packet} */ ({ type, ...fields });
}

/** @param {Greeting} packet */
function pushGreeting({ sessionId, role, codecHash, meta = {}, wallMs = 0, features = 0, resumed = false }) {
  if (sessionId.length !== SESSION_ID_BYTES) {
    throw new LocalProtocolError(`session id must be ${SESSION_ID_BYTES} bytes, not ${sessionId.length}`);
  }
  if (role !== "sender" && role !== "receiver") throw new LocalProtocolError(`unknown role ${role}`);
  if (codecHash.length > MAX_CODEC_HASH) {
    throw new LocalProtocolError(`codec hash is longer than ${MAX_CODEC_HASH} bytes`);
  }
  if (!isInteger(wallMs) || BigInt.asUintN(64, BigInt(wallMs)) !== BigInt(wallMs)) {
    throw new LocalProtocolError(`wallMs ${wallMs} is not a whole number from 0 to 2^64-1`);
  }
  const wall = BigInt(wallMs);
  const halves = [wall >> 32n, wall & 0xffffffffn].flatMap((half) => u32(Number(half), "wallMs"));
  const map = packMap(meta, "greeting: meta");
  const full = map.length > 1;
  if (!isUnsigned(features, 256)) throw new LocalProtocolError(`features ${features} are outside 0 to 255`);
  const flags = flagsOf(role === "receiver", full, resumed, features > 0);
  const able = features > 0 ? [features] : [];
  return [...sessionId, flags, codecHash.length, ...codecHash, ...halves, ...able, ...(full ? map : [])];
}

/** @param {Reader} reader */
function pullGreeting(reader) {
  const sessionId = reader.take(SESSION_ID_BYTES);
  const flags = reader.flags(4);
  const size = reader.unsigned(1);
  if (size > MAX_CODEC_HASH) throw new RemoteProtocolError(`greeting: codec is longer than ${MAX_CODEC_HASH} bytes`);
  const codecHash = reader.take(size);
  const wall = reader.take(8).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const wallMs = isInteger(Number(wall)) ? Number(wall) : wall;
  const features = flags & 8 ? reader.unsigned(1) : 0;
  if (flags & 8 && features === 0) throw new RemoteProtocolError("greeting: no features, their flag must be 0");
  reader.skipExtensions(flags);
  const meta = flags & 2 ? unpackMap(reader.rest(), "greeting: meta") : new Map();
  if (flags & 2 && meta.size === 0) throw new RemoteProtocolError("greeting: meta is empty, its flag must be 0");
  const role = flags & 1 ? "receiver" : "sender";
  return { sessionId, role, codecHash, meta, wallMs, features, resumed: (flags & 4) !== 0 };
}

const isInteger = (/** @type {unknown} */ value) => typeof value === "bigint" || Number.isSafeInteger(value);

/** @param {Delta} packet */
function pushDelta(packet) {
  const { version, distance, captureMs, payload, stateHash = null, anchor = false, answer = false, part = null } = packet;
  if (!isUnsigned(distance, MAX_DISTANCE + 1)) {
    throw new LocalProtocolError(`base lies ${distance} versions back, the limit is ${MAX_DISTANCE}`);
  }
  if (payload.length > MAX_PACKET) throw new LocalProtocolError(`a payload of ${payload.length} bytes`);
  const flags = flagsOf(stateHash !== null, distance === 0, anchor, part !== null, answer);
  const back = distance === 0 ? [] : pushVarint(distance);
  const hash = stateHash === null ? [] : u32(stateHash, "state hash");
  const wrong = part && wrongPart(part, payload.length);
  if (wrong) throw new LocalProtocolError(wrong);
  const piece = part === null ? [] : [part.index, part.count, ...pushVarint(part.size)];
  return Uint8Array.of(flags, ...u16(version), ...back, ...u16(captureMs), ...hash, ...piece, ...payload);
}

/**
 * @param {Part} part
 * @param {number} length of the piece that came with it
 * @returns {string | null} what is wrong with it
 */
function wrongPart({ index, count, size }, length) {
  const drawn = `delta: piece ${index} of ${count} of ${size} bytes`;
  const possible =
    isUnsigned(index, count + 1) && isUnsigned(count, MAX_PARTS + 1) && isUnsigned(size, MAX_PARTS * MAX_PACKET + 1);
  if (!possible || count < 1 || size < 1) return `${drawn} is none there can be`;
  const whole = Math.ceil(size / count);
  const wanted = index === count ? whole : Math.min(whole, Math.max(0, size - index * whole));
  return length === wanted && length > 0 ? null : `${drawn} has ${length}, not ${wanted}`;
}

/** @param {Reader} reader */
function pullDelta(reader) {
  const flags = reader.flags(5);
  const version = reader.unsigned(2);
  const distance = flags & 2 ? 0 : reader.varint();
  if (!(flags & 2) && (distance < 1 || distance > MAX_DISTANCE)) {
    throw new RemoteProtocolError(`delta: base lies ${distance} versions back, allowed is 1 to ${MAX_DISTANCE}`);
  }
  const captureMs = reader.unsigned(2);
  const stateHash = flags & 1 ? reader.unsigned(4) : null;
  const part = flags & 8 ? { index: reader.unsigned(1), count: reader.unsigned(1), size: reader.varint() } : null;
  reader.skipExtensions(flags);
  const payload = reader.rest();
  const wrong = part && wrongPart(part, payload.length);
  if (wrong) throw new RemoteProtocolError(wrong);
  const [anchor, answer] = [(flags & 4) !== 0, (flags & 16) !== 0];
  return { version, distance, captureMs, payload, stateHash, anchor, answer, part };
}

/** @param {Ack} packet */
function pushAck({ applied = null, newest = null, received = 0, holdMs = 0, missing = null, clockMs = null }) {
  const same = applied !== null && newest !== null && ((applied ^ newest) & 0xffff) === 0;
  const all = newest !== null && received >>> 0 === ALL_ARRIVED;
  const told = newest !== null && clockMs !== null;
  const out = [flagsOf(applied !== null && !same, newest !== null, missing !== null, same, all, told)];
  if (applied !== null && !same) out.push(...u16(applied));
  if (newest !== null) {
    out.push(...u16(newest), ...(all ? [] : u32(received >>> 0, "received")));
    out.push(...pushVarint(Math.min(Math.max(holdMs, 0), MAX_HOLD_MS)), ...(told ? u16(clockMs) : []));
  }
  if (missing !== null) out.push(...u16(missing));
  return out;
}

/** @param {Reader} reader */
function pullAck(reader) {
  const flags = reader.flags(6);
  if ((flags & 56 && !(flags & 2)) || (flags & 9) === 9) {
    throw new RemoteProtocolError(`ack: flags ${hex(flags)} contradict each other`);
  }
  const written = flags & 1 ? reader.unsigned(2) : null;
  const newest = flags & 2 ? reader.unsigned(2) : null;
  const bits = flags & 2 && !(flags & 16) ? reader.unsigned(4) : null;
  const holdMs = flags & 2 ? reader.varint() : 0;
  if (holdMs > MAX_HOLD_MS) {
    throw new RemoteProtocolError(`ack: newest is held for ${holdMs} ms, the limit is ${MAX_HOLD_MS}`);
  }
  if ((written !== null && written === newest) || bits === ALL_ARRIVED) {
    throw new RemoteProtocolError("ack: what a flag says is written out");
  }
  const clockMs = flags & 32 ? reader.unsigned(2) : null;
  const missing = flags & 4 ? reader.unsigned(2) : null;
  reader.skipExtensions(flags);
  const applied = flags & 8 ? newest : written;
  return { applied, newest, received: flags & 16 ? ALL_ARRIVED : (bits ?? 0), holdMs, missing, clockMs };
}

/** @param {Heartbeat} packet */
function pushHeartbeat({ version = null, stateHash = null, answer = false }) {
  const out = [flagsOf(version !== null, stateHash !== null, answer)];
  if (version !== null) out.push(...u16(version));
  if (stateHash !== null) out.push(...u32(stateHash, "state hash"));
  return out;
}

/** @param {Reader} reader */
function pullHeartbeat(reader) {
  const flags = reader.flags(3);
  const version = flags & 1 ? reader.unsigned(2) : null;
  const stateHash = flags & 2 ? reader.unsigned(4) : null;
  reader.skipExtensions(flags);
  return { version, stateHash, answer: (flags & 4) !== 0 };
}

/** @param {Feedback} packet */
function pushFeedback({ number, values = {} }) {
  return [...u32(number, "number"), ...packMap(values, "feedback")];
}

/** @param {Reader} reader */
function pullFeedback(reader) {
  return { number: reader.unsigned(4), values: unpackMap(reader.rest(), "feedback") };
}

/** @param {RefreshRequest} packet */
function pushRefreshRequest({ number, reason = "" }) {
  return [...u32(number, "number"), ...pushReason(reason)];
}

/** @param {Reader} reader */
function pullRefreshRequest(reader) {
  return { number: reader.unsigned(4), reason: pullReason(reader) };
}

/** @param {Close} packet */
function pushClose({ code, reason = "" }) {
  if (!isUnsigned(code, 256)) throw new LocalProtocolError(`close code ${code} is outside 0 to 255`);
  return [code, ...pushReason(reason)];
}

/** @param {Reader} reader */
function pullClose(reader) {
  return { code: reader.unsigned(1), reason: pullReason(reader) };
}

/**
 * @param {string} reason
 * @returns {Uint8Array} cut between two characters where it is too long
 */
function pushReason(reason) {
  const bytes = new TextEncoder().encode(reason.replace(/\p{Surrogate}/gu, "?"));
  let end = Math.min(bytes.length, MAX_REASON);
  while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

/** @param {Reader} reader of which all that is left is a reason */
function pullReason(reader) {
  const bytes = reader.rest();
  if (bytes.length > MAX_REASON) {
    throw new RemoteProtocolError(`reason has ${bytes.length} bytes, the limit is ${MAX_REASON}`);
  }
  try {
    return utf8.decode(bytes);
  } catch {
    throw new RemoteProtocolError("reason is not UTF-8");
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
