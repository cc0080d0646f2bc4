// Runs a network of nets.js on inputs in files, for test_javascript_nets.py: node twin_nets.mjs KERNELS MODEL IN OUT [bytes]

import { readFileSync, writeFileSync } from "node:fs";
import { Network } from "../../edge_gate/web/nets.js";

const [kernels, model, asked, answer, bytes] = process.argv.slice(2);
const network = new Network(new WebAssembly.Module(readFileSync(kernels)), readFileSync(model));
const kind = bytes ? Int8Array : Float32Array;
const told = JSON.parse(readFileSync(asked, "utf8")).map(({ name, file, dims }) => {
  const found = network.run({ [name]: { data: new kind(Uint8Array.from(readFileSync(file)).buffer), dims } });
  return Object.fromEntries(Object.entries(found).map(([key, { data, dims }]) => [key, { data: [...data], dims }]));
});
writeFileSync(answer, JSON.stringify(told));
