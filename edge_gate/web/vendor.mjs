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
const text = `onnxruntime-web ${version} (${license}): unchanged files of its npm package, and the same compressed

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software
is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`;
if (existsSync(notice) && readFileSync(notice, "utf8") === text) process.exit(0);

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
for (const name of FILES) {
  const target = new URL(name, to);
  copyFileSync(new URL(`dist/${name}`, from), target);
  const bytes = readFileSync(target);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 10, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  const squeezed = brotliCompressSync(bytes, { params });
  writeFileSync(new URL(`${name}.br`, to), squeezed);
  writeFileSync(new URL(`${name}.gz`, to), gzipSync(bytes, { level: 9 }));
  console.log(`${name}  ${bytes.length} bytes, ${squeezed.length} compressed`);
}
writeFileSync(notice, text);
