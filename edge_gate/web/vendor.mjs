/**
 * Copies of onnxruntime-web what the page needs into vendor/, compressed as well: `npm run vendor`, after `npm ci`.
 *
 *     node_modules/onnxruntime-web/dist/NAME --> vendor/NAME, NAME.br, NAME.gz      (of the WASM build only)
 *
 * What is there already is left alone as long as it is of the same version.
 */

import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const FILES = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
const from = new URL("node_modules/onnxruntime-web/", import.meta.url);
const to = new URL("vendor/", import.meta.url);

const about = new URL("package.json", from);
if (!existsSync(about)) {
  console.error("onnxruntime-web is not here: run `npm ci` in edge_gate/web first");
  process.exit(1);
}
const { version, license } = JSON.parse(readFileSync(about, "utf8"));
const notice = new URL("NOTICE", to);
const text = `onnxruntime-web ${version}, ${license}, Copyright (c) Microsoft Corporation; unchanged files of its npm package\n`;
if (existsSync(notice) && readFileSync(notice, "utf8") === text) process.exit(0);

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
for (const name of FILES) {
  const target = new URL(name, to);
  copyFileSync(new URL(`dist/${name}`, from), target);
  const bytes = readFileSync(target);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  const squeezed = brotliCompressSync(bytes, { params });
  writeFileSync(new URL(`${name}.br`, to), squeezed);
  writeFileSync(new URL(`${name}.gz`, to), gzipSync(bytes, { level: 9 }));
  console.log(`${name}  ${bytes.length} bytes, ${squeezed.length} compressed`);
}
writeFileSync(notice, text);
