// Loads what `keras_targets.py convert OUT --target tfjs` wrote in the real TensorFlow.js and compares what it computes
// with what was recorded when the models were saved.
//
//     npm install --no-package-lock && node check.mjs OUT [--only PART]... [--every N]
//
// Exit code 1 when a number is wrong or a file does not load.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import tf from "@tensorflow/tfjs";
import { npz } from "./npz.mjs";

// Of a case in whole numbers or float32, and of one in half precision, which TensorFlow.js computes in float32.
const EXACT = { rtol: 1e-3, atol: 1e-5 }, LOOSE = { rtol: 3e-2, atol: 3e-2 };
// All at once, as the framework that recorded it did.
const BATCH_MAX = 1 << 20;

/** What TensorFlow.js itself reads over HTTP, from a directory. */
function artifacts(folder) {
  const model = JSON.parse(readFileSync(join(folder, "model.json"), "utf8"));
  const shards = model.weightsManifest.flatMap((group) => group.paths.map((path) => readFileSync(join(folder, path))));
  return {
    modelTopology: model.modelTopology,
    weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
    weightData: Uint8Array.from(Buffer.concat(shards)).buffer,
  };
}

const listed = (value) => (Array.isArray(value) ? value.flat(Infinity) : [value]);

function fed(input, array) {
  const integer = !array.dtype.includes("f");
  const dtype = input.dtype === "float32" || input.dtype === "int32" || input.dtype === "bool" ? input.dtype
    : integer ? "int32" : "float32";
  return tf.tensor(array.values, array.shape, dtype);
}

/** The largest difference; an error where one is not within the tolerance of the case. */
function difference(number, got, want, row) {
  if (got.shape.join() !== want.shape.join()) throw new Error(`output ${number}: [${got.shape}] and not [${want.shape}]`);
  const half = want.dtype === "<f2" || row.case.loose || row.said.includes("precision");
  const { rtol, atol } = half ? LOOSE : EXACT;
  const values = got.dataSync();
  let worst = 0;
  for (let i = 0; i < values.length; i++) {
    const g = Number(values[i]), w = want.values[i];
    if (g === w || (Number.isNaN(g) && Number.isNaN(w))) continue;
    const off = Math.abs(g - w);
    if (!(off <= Math.max(atol, row.case.tolerance ?? 0) + rtol * Math.abs(w))) {
      throw new Error(`output ${number}: ${g} and not ${w} at ${i}`);
    }
    if (!half) worst = Math.max(worst, off);
  }
  return worst;
}

async function check(row) {
  const model = await tf.loadLayersModel({ load: async () => artifacts(row.path) }, { strict: true });
  const golden = npz(row.golden);
  const of = (letter) => Object.keys(golden).filter((key) => RegExp(`^${letter}\\d+$`).test(key))
    .sort((a, b) => a.slice(1) - b.slice(1)).map((key) => golden[key]);
  const xs = of("x").map((array, i) => fed(model.inputs[i], array)), wanted = of("y");
  const ys = listed(model.predict(xs.length > 1 ? xs : xs[0], { batchSize: BATCH_MAX }));
  if (ys.length !== wanted.length) throw new Error(`${ys.length} outputs and not ${wanted.length}`);
  return Math.max(...ys.map((y, i) => difference(i, y, wanted[i], row)));
}

await tf.setBackend("cpu");
const [out, ...rest] = process.argv.slice(2);
const options = (name) => rest.flatMap((word, i) => (rest[i - 1] === name ? [word] : []));
const only = options("--only"), every = Number(options("--every")[0] ?? 1);
const rows = JSON.parse(readFileSync(join(out, "index.json"), "utf8"))
  .filter((row) => row.target === "tfjs" && row.path && row.golden)
  // Classes of the user's own, which the user registers.
  .filter((row) => !row.name.includes("custom_layer"))
  .filter((row) => !only.length || only.some((part) => row.name.includes(part)))
  .filter((_, i) => i % every === 0);
console.warn = () => {};
let passed = 0, largest = 0;
const failed = [];
for (const row of rows) {
  tf.engine().startScope();
  try {
    largest = Math.max(largest, await check(row));
    passed++;
  } catch (error) {
    failed.push(row.name);
    console.log(`  ${row.name}: ${String(error.message).replace(/\s+/g, " ").slice(0, 220)}`);
  }
  tf.engine().endScope();
  tf.disposeVariables();
}
console.log(`TensorFlow.js ${tf.version_layers}: ${passed} of ${rows.length} load and give the recorded outputs; ` +
  `largest error ${largest.toPrecision(3)}`);
process.exit(failed.length || !rows.length ? 1 : 0);
