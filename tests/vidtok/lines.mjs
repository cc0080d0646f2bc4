// What the drivers of the JavaScript twin share: requests come as lines of JSON, each is answered by one.
//
//     {"do": name, ...}  -->  {"value": answer} or {"error": name, "message": text}
//
// What JSON cannot say has a tag: {"bytes": base64}, {"int": digits}, {"float": hex of its eight bytes},
// {"map": [[key, value], ...]}.

import { createInterface } from "node:readline";

import { Float } from "../../edge_gate/web/msgpack.js";

export const fromBase64 = (text) => Uint8Array.from(Buffer.from(text, "base64"));
export const toBase64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

export function untagged(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(untagged);
  const [[tag, content]] = Object.entries(value);
  if (tag === "bytes") return fromBase64(content);
  if (tag === "int") return BigInt(content);
  if (tag === "part") return { index: content[0], count: content[1], size: content[2] };
  if (tag === "map") return new Map(content.map(([key, each]) => [key, untagged(each)]));
  const number = Buffer.from(content, "hex").readDoubleBE();
  return Number.isSafeInteger(number) ? new Float(number) : number;
}

export function tagged(value) {
  if (typeof value === "bigint") return { int: String(value) };
  if (Number.isSafeInteger(value)) return value;
  if (typeof value === "number" || value instanceof Number) {
    if (Number.isNaN(Number(value))) return { float: "7ff8000000000000" }; // whichever of them it was
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(Number(value));
    return { float: bytes.toString("hex") };
  }
  if (value instanceof Uint8Array) return { bytes: toBase64(value) };
  if (value?.count !== undefined) return { part: [value.index, value.count, value.size] };
  if (value instanceof Map) return { map: [...value].map(([key, each]) => [key, tagged(each)]) };
  return Array.isArray(value) ? value.map(tagged) : value;
}

const renamed = (words, name, value) =>
  Object.fromEntries(Object.entries(words).map(([key, each]) => [name(key), value(each)]));

/** Python's words as an object of JavaScript: snake_case becomes camelCase, tags become values. */
export const toObject = (words) =>
  renamed(words, (key) => key.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), untagged);

/** The inverse. */
export const fromObject = (object) =>
  renamed(object, (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), tagged);

/** Answer every line, with the function that its `do` names. */
export async function answer(doing) {
  for await (const line of createInterface({ input: process.stdin })) {
    let told;
    try {
      const request = JSON.parse(line);
      told = { value: await doing[request.do](request) };
    } catch (error) {
      told = { error: error.name, message: error.message };
    }
    process.stdout.write(`${JSON.stringify(told)}\n`);
  }
}
