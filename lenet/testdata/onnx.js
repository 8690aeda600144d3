// Runs a model in onnxruntime, and compares its outputs with recorded ones.
//
//   npm install --ignore-scripts onnxruntime-node
//   node onnx.js model.onnx images.bin outputs.bin C H W classes
//
// images.bin holds n images of C*H*W bytes, outputs.bin their logits and then
// their probabilities, float32. Prints the largest differences as JSON.
const fs = require("fs");
const ort = require(require.resolve("onnxruntime-node", { paths: [process.cwd()] }));

(async () => {
  const [model, images, outputs, ...sizes] = process.argv.slice(2);
  const [c, h, w, classes] = sizes.map(Number);
  const bytes = fs.readFileSync(images);
  const n = bytes.length / (c * h * w);
  const raw = fs.readFileSync(outputs);
  const want = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
  const session = await ort.InferenceSession.create(model);
  const largest = { logits: 0, probabilities: 0 };
  for (const size of [1, n]) { // any number of images at once
    const feed = new ort.Tensor("uint8", new Uint8Array(bytes.subarray(0, size * c * h * w)), [size, c, h, w]);
    const got = await session.run({ images: feed });
    ["logits", "probabilities"].forEach((name, k) => {
      if (got[name].dims.join() !== [size, classes].join()) throw new Error(`${name}: ${got[name].dims}`);
      got[name].data.forEach((v, i) => {
        const d = Math.abs(v - want[k * n * classes + i]);
        if (!(d <= largest[name])) largest[name] = d; // NaN too
      });
    });
  }
  console.log(JSON.stringify(largest));
})();
