// Makes layers models with TensorFlow.js itself, random weights and all: OUT/NAME/model.json with its weights, and
// OUT/NAME.golden.npz with inputs and what TensorFlow.js computes from them.
//
//     npm install --no-package-lock && node make.mjs OUT [NAME]...
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import tf from "@tensorflow/tfjs";
import { savez } from "./npz.mjs";

const L = tf.layers;
const BATCH = 2, BATCH_MAX = 1 << 20;

/** Mulberry32: numbers in [0, 1) that are the same in every run. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const size = (shape) => shape.reduce((product, n) => product * n, 1);
const x = (...shape) => tf.input({ shape });
const ids = (...shape) => tf.input({ shape, dtype: "int32" });
/** One layer on one input. */
const on = (shape, layer) => () => { const input = x(...shape); return [[input], layer.apply(input)]; };
const chain = (shape, ...layers) => () => {
  const input = x(...shape);
  return [[input], layers.reduce((value, layer) => layer.apply(value), input)];
};
const merged = (layer, ...shapes) => () => { const inputs = shapes.map((s) => x(...s)); return [inputs, layer.apply(inputs)]; };
const several = (count, layer, shapes) => () => {
  const inputs = shapes.map((s) => x(...s));
  return [inputs, layer.apply(inputs[0], { initialState: inputs.slice(1) })];
};

const cases = {};
const add = (name, make) => { cases[name] = make; };
const each = (table, body) => Object.entries(table).forEach(([name, value]) => body(name, value));

const ACTIVATIONS = ["elu", "selu", "relu", "relu6", "linear", "sigmoid", "hardSigmoid", "softplus", "softsign", "tanh",
  "softmax", "logSoftmax", "swish", "mish", "gelu", "gelu_new"];
for (const activation of ACTIVATIONS) {
  add(`activation_${activation}`, () => on([5], L.activation({ activation }))());
  add(`dense_${activation}`, () => on([3, 4], L.dense({ units: 5, activation }))());
}
add("dense_no_bias", () => on([4], L.dense({ units: 3, useBias: false }))());
each({ valid: {}, same: { padding: "same" }, strides: { strides: 2 }, dilated: { dilationRate: 2 },
  relu: { activation: "relu" }, no_bias: { useBias: false }, first: { dataFormat: "channelsFirst" } }, (name, options) => {
  const first = name === "first";
  if (!first) add(`conv1d_${name}`, () => on([9, 3], L.conv1d({ filters: 4, kernelSize: 3, ...options }))());
  add(`conv2d_${name}`, () => on(first ? [3, 8, 7] : [8, 7, 3], L.conv2d({ filters: 4, kernelSize: [3, 2], ...options }))());
  add(`conv3d_${name}`, () => on(first ? [2, 5, 6, 5] : [5, 6, 5, 2], L.conv3d({ filters: 3, kernelSize: 2, ...options }))());
  add(`depthwise_${name}`, () => on(first ? [3, 8, 7] : [8, 7, 3],
    L.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, ...options }))());
  if (!first) {
    add(`separable_${name}`, () => on([8, 7, 3], L.separableConv2d({ filters: 4, kernelSize: 3, ...options }))());
  }
  if (name !== "dilated") {
    add(`conv2d_transpose_${name}`, () => on(first ? [2, 4, 5] : [4, 5, 2],
      L.conv2dTranspose({ filters: 3, kernelSize: [3, 2], ...options }))());
    add(`conv3d_transpose_${name}`, () => on(first ? [2, 3, 4, 3] : [3, 4, 3, 2],
      L.conv3dTranspose({ filters: 3, kernelSize: 3, ...options }))());
  }
});
add("conv2d_transpose_short", () => on([4, 5, 2], L.conv2dTranspose({ filters: 3, kernelSize: 1, strides: 2, padding: "same" }))());
each({ rank2: [4], rank3: [3, 4], rank4: [3, 2, 4] }, (name, shape) => {
  add(`batch_normalization_${name}`, () => on(shape, L.batchNormalization())());
  add(`layer_normalization_${name}`, () => on(shape, L.layerNormalization())());
});
add("batch_normalization_plain", () => on([3, 4], L.batchNormalization({ scale: false, center: false, epsilon: 0.01 }))());
add("layer_normalization_axes", () => on([3, 2, 4], L.layerNormalization({ axis: [2, 3], scale: false }))());
for (const kind of ["max", "average"]) for (const padding of ["valid", "same"]) {
  add(`${kind}_pooling1d_${padding}`, () => on([7, 3], L[`${kind}Pooling1d`]({ poolSize: 3, strides: 2, padding }))());
  add(`${kind}_pooling2d_${padding}`, () => on([7, 6, 3], L[`${kind}Pooling2d`]({ poolSize: 3, strides: 2, padding }))());
  add(`${kind}_pooling2d_first_${padding}`, () => on([3, 7, 6],
    L[`${kind}Pooling2d`]({ poolSize: 2, padding, dataFormat: "channelsFirst" }))());
  add(`${kind}_pooling3d_${padding}`, () => on([5, 6, 7, 2], L[`${kind}Pooling3d`]({ poolSize: 2, padding }))());
}
for (const kind of ["Max", "Average"]) {
  add(`global_${kind.toLowerCase()}_pooling1d`, () => on([7, 3], L[`global${kind}Pooling1d`]({}))());
  add(`global_${kind.toLowerCase()}_pooling2d`, () => on([7, 6, 3], L[`global${kind}Pooling2d`]({}))());
  add(`global_${kind.toLowerCase()}_pooling2d_first`, () => on([3, 7, 6], L[`global${kind}Pooling2d`]({ dataFormat: "channelsFirst" }))());
}

const RNNS = { lstm: L.lstm, gru: L.gru, simple: L.simpleRNN };
const STATES = { lstm: 2, gru: 1, simple: 1 };
const ways = { last: {}, sequences: { returnSequences: true }, backwards: { returnSequences: true, goBackwards: true },
  relu: { activation: "relu", recurrentActivation: "sigmoid" }, no_bias: { useBias: false },
  state: { returnState: true, returnSequences: true }, linear: { activation: "linear", returnSequences: true } };
each(RNNS, (kind, layer) => {
  each(ways, (way, options) => add(`${kind}_${way}`, () => on([5, 3], layer({ units: 4, ...options }))()));
  for (const mergeMode of ["concat", "sum", "ave", "mul"]) for (const returnSequences of [false, true]) {
    add(`bidirectional_${kind}_${mergeMode}${returnSequences ? "_sequences" : ""}`, () => on([5, 3],
      L.bidirectional({ layer: layer({ units: 4, returnSequences }), mergeMode }))());
  }
  add(`${kind}_initial`, () => several(1, layer({ units: 4, returnSequences: true }), [[5, 3], ...Array(STATES[kind]).fill([4])])());
  each({ last: false, sequences: true }, (way, returnSequences) => {
    add(`masked_${kind}_${way}`, () => chain([5, 3], L.masking({ maskValue: 7 }), layer({ units: 4, returnSequences }))());
    add(`masked_bidirectional_${kind}_${way}`, () => chain([5, 3], L.masking({ maskValue: 7 }),
      L.bidirectional({ layer: layer({ units: 4, returnSequences }), mergeMode: "concat" }))());
  });
  add(`masked_${kind}_initial`, () => {
    const input = x(5, 3), states = Array.from({ length: STATES[kind] }, () => x(4));
    const masked = L.masking({ maskValue: 7 }).apply(input);
    return [[input, ...states], layer({ units: 4, returnSequences: true }).apply(masked, { initialState: states })];
  });
  add(`masked_${kind}_stacked`, () => chain([5, 3], L.masking({ maskValue: 7 }),
    layer({ units: 4, returnSequences: true }), L.dropout({ rate: 0.5 }), layer({ units: 3 }))());
  const cell = kind === "simple" ? "simpleRNNCell" : `${kind}Cell`;
  add(`rnn_${kind}`, () => on([5, 3], L.rnn({ cell: L[cell]({ units: 4 }), returnSequences: true }))());
  add(`rnn_${kind}_stacked`, () => on([5, 3], L.rnn({ cell: [L[cell]({ units: 4 }), L[cell]({ units: 2 })] }))());
  add(`masked_rnn_${kind}_stacked`, () => chain([5, 3], L.masking({ maskValue: 7 }),
    L.rnn({ cell: [L[cell]({ units: 4 }), L[cell]({ units: 2 })], returnSequences: true }))());
  add(`embedded_${kind}`, () => {
    const input = ids(5);
    return [[input], layer({ units: 4 }).apply(L.embedding({ inputDim: 6, outputDim: 3, maskZero: true }).apply(input))];
  });
});
each({ last: {}, sequences: { returnSequences: true }, same: { padding: "same" } }, (name, options) =>
  add(`conv_lstm2d_${name}`, () => on([3, 6, 5, 2], L.convLstm2d({ filters: 3, kernelSize: 2, ...options }))()));

add("embedding", () => { const input = ids(5); return [[input], L.embedding({ inputDim: 6, outputDim: 3 }).apply(input)]; });
add("time_distributed_dense", () => on([3, 4], L.timeDistributed({ layer: L.dense({ units: 2, activation: "tanh" }) }))());
add("time_distributed_conv2d", () => on([3, 5, 6, 2], L.timeDistributed({ layer: L.conv2d({ filters: 2, kernelSize: 2 }) }))());
add("flatten", () => on([3, 2, 4], L.flatten())());
add("flatten_first", () => on([3, 2, 4], L.flatten({ dataFormat: "channelsFirst" }))());
add("reshape", () => on([3, 4], L.reshape({ targetShape: [2, -1] }))());
add("permute", () => on([3, 2, 4], L.permute({ dims: [3, 1, 2] }))());
add("repeat_vector", () => on([4], L.repeatVector({ n: 3 }))());
for (const kind of ["add", "average", "maximum", "minimum", "multiply"]) {
  add(kind, () => merged(L[kind](), [3, 4], [3, 4], [3, 4])());
  add(`${kind}_wide`, () => merged(L[kind](), [3, 4], [1, 4])());
  add(`${kind}_ranks`, () => merged(L[kind](), [3, 4], [4])());
}
add("concatenate", () => merged(L.concatenate(), [3, 4], [3, 2])());
add("concatenate_1", () => merged(L.concatenate({ axis: 1 }), [3, 4], [2, 4])());
each({ dot_vectors: [-1, [4], [4]], dot_cosine: [-1, [4], [4], true], dot_matrices: [-1, [3, 4], [2, 4]],
  dot_first: [1, [3, 4], [3, 2]], dot_pair: [[2, 1], [3, 4], [4, 2]], dot_vector: [[2, 1], [3, 4], [4]] },
  (name, [axes, a, b, normalize = false]) => add(name, () => merged(L.dot({ axes, normalize }), a, b)()));
add("dropouts", () => chain([3, 4], L.dropout({ rate: 0.5 }), L.gaussianNoise({ stddev: 1 }), L.gaussianDropout({ rate: 0.5 }),
  L.alphaDropout({ rate: 0.5 }), L.spatialDropout1d({ rate: 0.5 }))());
add("elu", () => on([5], L.elu())());
add("leaky_relu", () => on([5], L.leakyReLU({ alpha: 0.17 }))());
add("leaky_relu_default", () => on([5], L.leakyReLU())());
add("prelu", () => on([3, 4], L.prelu())());
add("prelu_shared", () => on([3, 2, 4], L.prelu({ sharedAxes: [1, 2] }))());
add("relu", () => on([5], L.reLU())());
add("relu_max", () => on([5], L.reLU({ maxValue: 0.5 }))());
add("softmax", () => on([3, 4], L.softmax({ axis: -1 }))());
add("softmax_default", () => on([4], L.softmax())());
add("thresholded_relu", () => on([5], L.thresholdedReLU({ theta: 0.3 }))());
add("cropping2d", () => on([7, 6, 2], L.cropping2D({ cropping: [[1, 2], [0, 1]] }))());
add("cropping2d_first", () => on([2, 7, 6], L.cropping2D({ cropping: 1, dataFormat: "channelsFirst" }))());
add("zero_padding2d", () => on([4, 3, 2], L.zeroPadding2d({ padding: [[1, 2], [0, 1]] }))());
add("zero_padding2d_first", () => on([2, 4, 3], L.zeroPadding2d({ padding: [1, 2], dataFormat: "channelsFirst" }))());
add("up_sampling2d", () => on([3, 4, 2], L.upSampling2d({ size: [2, 3] }))());
add("up_sampling2d_first", () => on([2, 3, 4], L.upSampling2d({ dataFormat: "channelsFirst" }))());
add("up_sampling2d_bilinear", () => on([3, 4, 2], L.upSampling2d({ size: [2, 3], interpolation: "bilinear" }))());
add("rescaling", () => on([3, 4], L.rescaling({ scale: 0.25, offset: -1 }))());
add("center_crop", () => chain([6, 7, 2], L.reLU(), L.centerCrop({ height: 4, width: 4 }))());
add("category_encoding", () => {
  const input = ids(4);
  return [[input], L.categoryEncoding({ numTokens: 6, outputMode: "multiHot" }).apply(L.activation({ activation: "linear" }).apply(input))];
});
add("nested", () => {
  const inner = tf.sequential({ layers: [L.dense({ units: 4, inputShape: [3], activation: "tanh" }), L.batchNormalization()] });
  const input = x(3), deep = inner.apply(input);
  return [[input], [L.add().apply([deep, inner.apply(L.dense({ units: 3 }).apply(deep))]), deep]];
});
add("frozen", () => {
  const layer = L.dense({ units: 4, trainable: false }), input = x(3);
  return [[input], L.dense({ units: 2 }).apply(L.batchNormalization().apply(layer.apply(input)))];
});
add("masked_merge", () => {
  const a = x(5, 3), b = x(5, 3), rnn = L.lstm({ units: 2, returnSequences: true });
  return [[a, b], L.dense({ units: 2 }).apply(L.add().apply([rnn.apply(b), L.lstm({ units: 2, returnSequences: true }).apply(a)]))];
});
add("masked_beside_plain", () => {
  const a = x(5, 3), b = x(5, 3);
  const one = L.lstm({ units: 2 }).apply(L.masking({ maskValue: 7 }).apply(a));
  return [[a, b], L.concatenate().apply([one, L.lstm({ units: 2 }).apply(b)])];
});
add("masked_then_plain", () => chain([5, 3], L.masking({ maskValue: 7 }), L.lstm({ units: 2 }), L.repeatVector({ n: 5 }),
  L.lstm({ units: 3, returnSequences: true }))());
add("masked_dropped", () => chain([5, 3], L.masking({ maskValue: 7 }), L.leakyReLU(), L.lstm({ units: 3, returnSequences: true }))());
add("masked_softmax", () => chain([5, 3], L.masking({ maskValue: 7 }), L.lstm({ units: 5 }), L.softmax())());
add("masked_pooled", () => chain([5, 3], L.masking({ maskValue: 7 }), L.dense({ units: 4 }), L.globalAveragePooling1d({}))());

/** Numbers for an input or a weight; some steps of a masked input are masked, not only its last. */
function numbers(next, shape, name) {
  const values = Array.from({ length: size(shape) }, () => (next() * 2 - 1) * 1.5);
  if (name.includes("variance")) return values.map((v) => Math.abs(v) + 0.3);
  return values;
}

async function make(out, name, build) {
  const next = random([...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) | 0, 7));
  const [inputs, outputs] = build();
  const model = tf.model({ inputs, outputs, name });
  model.weights.forEach((weight) => weight.write(tf.tensor(numbers(next, weight.shape, weight.originalName), weight.shape)));
  const arrays = {};
  const fed = inputs.map((input, i) => {
    const shape = [BATCH, ...input.shape.slice(1)];
    let values = input.dtype === "int32" ? Array.from({ length: size(shape) }, () => Math.floor(next() * 6))
      : numbers(next, shape, "");
    if (name.startsWith("masked") && shape.length === 3) {
      values = values.map((v, at) => ([1, 3, 4].includes(Math.floor(at / shape[2]) % 5) && Math.floor(at / shape[2]) < 5 ? 7 : v));
    }
    arrays[`x${i}`] = { dtype: input.dtype, shape, values };
    return tf.tensor(values, shape, input.dtype);
  });
  const got = [model.predict(fed.length > 1 ? fed : fed[0], { batchSize: BATCH_MAX })].flat();
  got.forEach((y, i) => { arrays[`y${i}`] = { dtype: y.dtype, shape: y.shape, values: Array.from(y.dataSync()) }; });
  const folder = join(out, name);
  mkdirSync(folder, { recursive: true });
  await model.save({ save: async (artifacts) => {
    const { modelTopology, weightSpecs, weightData, format, generatedBy, convertedBy } = artifacts;
    const manifest = [{ paths: ["weights.bin"], weights: weightSpecs }];
    writeFileSync(join(folder, "model.json"), JSON.stringify({ format, generatedBy, convertedBy, modelTopology, weightsManifest: manifest }));
    writeFileSync(join(folder, "weights.bin"), Buffer.from(Array.isArray(weightData) ? weightData[0] : weightData));
    return { modelArtifactsInfo: {} };
  } });
  savez(`${folder}.golden.npz`, arrays);
}

await tf.setBackend("cpu");
const [out, ...names] = process.argv.slice(2);
console.warn = () => {};
let made = 0;
for (const [name, build] of Object.entries(cases)) {
  if (names.length && !names.includes(name)) continue;
  try {
    await make(out, name, build);
    made++;
  } catch (error) {
    console.log(`  ${name}: TensorFlow.js: ${String(error.message).replace(/\s+/g, " ").slice(0, 160)}`);
  }
}
console.log(`${made} of ${names.length || Object.keys(cases).length} models, TensorFlow.js ${tf.version_layers}`);
