// Beside onnxruntime-web in one browser: the same weights, pixels and ids, rounds alternating, on the same adapter.
//
//     python examples/peers/onnx_export.py target/full/ViT-B-32-hf target/peers/ViT-B-32-hf
//     npm install --prefix target/web-tools onnxruntime-web && scripts/build-web
//     node examples/peers/browser.mjs /target/full/ViT-B-32-hf /target/peers [ROUNDS [OUT]]     OUT.md and OUT.json are written
//
// One thread each: pages have more only where they are cross-origin isolated.

import fs from 'node:fs';
import os from 'node:os';
import { browse, root, SWIFTSHADER } from '../../tests/web/browser.mjs';
import { serve } from '../../tests/web/server.mjs';

const [model, onnx, rounds = '3', out] = process.argv.slice(2);
const server = await serve(root);
const table = [];
for (const [device, provider] of [['webgpu', 'webgpu'], ['wasm', 'wasm']]) {
  for (const tower of ['image', 'text']) {
    await browse(SWIFTSHADER, async (page) => {
      await page.goto(`${server.url}/tests/web/bare.html`);
      await page.waitForFunction(() => globalThis.Clip);
      const row = await page.evaluate(async ({ model, onnx, device, provider, tower, rounds }) => {
        const ort = await import('/target/web-tools/node_modules/onnxruntime-web/dist/ort.all.min.mjs');
        ort.env.wasm.numThreads = 1;
        const seconds = async (call) => {
          const began = performance.now();
          return [await call(), performance.now() - began];
        };
        const clip = await Clip.load(model, { device, batch: 1 });
        const side = clip.size;
        const pixels = Float32Array.from({ length: 3 * side * side }, (_, i) => ((i * 7919) % 1009) / 504.5 - 1);
        const ids = Uint32Array.from({ length: 77 }, (_, i) => (i === 0 ? 49406 : i === 76 ? 49407 : (i * 17) % 400));
        const [session, loading] = await seconds(() => ort.InferenceSession.create(`${onnx}/${tower}.onnx`, { executionProviders: [provider] }));
        const input = tower === 'image' ? { pixels: new ort.Tensor('float32', pixels, [1, 3, side, side]) } : { ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, 77]) };
        const ours = async () => [...(await (tower === 'image' ? clip.encodePixels(pixels) : clip.encodeIds(ids, 77)))[0]];
        const theirs = async () => {
          const { embedding } = await session.run(input);
          return [...(await embedding.getData())];
        };
        const [[a], [b]] = [await seconds(ours), await seconds(theirs)];
        const times = { ours: [], theirs: [] };
        for (let i = 0; i < rounds; i++) {
          times.ours.push((await seconds(ours))[1]);
          times.theirs.push((await seconds(theirs))[1]);
        }
        const dot = (x, y) => x.reduce((sum, v, i) => sum + v * y[i], 0);
        const middle = (all) => Math.round(all.sort((x, y) => x - y)[all.length >> 1]);
        const [mine, other] = [middle(times.ours), middle(times.theirs)];
        return { tower, device, ours_ms: mine, onnxruntime_web_ms: other, ratio: +(other / mine).toFixed(2), cosine: +(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))).toFixed(7), our_memory_mb: Math.round((await clip.memory()) / 1e6), adapter: clip.adapter, onnxruntime: ort.env.versions?.web, their_loading_ms: Math.round(loading) };
      }, { model, onnx, device, provider, tower, rounds: Number(rounds) });
      table.push(row);
      console.log(JSON.stringify(row));
    });
  }
}
server.close();
const lines = [
  `# ${model.split('/').pop()} in Chromium, ${new Date().toISOString().slice(0, 10)}`, '',
  `${os.cpus()[0].model}, one thread each; onnxruntime-web ${table[0].onnxruntime}; WebGPU on ${table[0].adapter}, a software adapter. Medians of ${rounds} alternating rounds, the same weights, pixels and ids.`, '',
  '| tower, batch 1 | device | ours | onnxruntime-web | times faster | cosine | our wasm memory |', '|---|---|---|---|---|---|---|',
  ...table.map((r) => `| ${r.tower} | ${r.device} | ${r.ours_ms} ms | ${r.onnxruntime_web_ms} ms | ${r.ratio} | ${r.cosine} | ${r.our_memory_mb} MB |`), '',
  `\`node examples/peers/browser.mjs ${process.argv.slice(2).join(' ')}\``,
];
console.log(`\n${lines.join('\n')}`);
if (out) {
  fs.writeFileSync(`${out}.md`, `${lines.join('\n')}\n`);
  fs.writeFileSync(`${out}.json`, `${JSON.stringify({ date: new Date().toISOString().slice(0, 10), cpu: os.cpus()[0].model, rounds, rows: table }, null, 1)}\n`);
}
