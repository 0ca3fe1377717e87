// What a model costs in the browser: `node tests/web/measure.mjs /target/full/ViT-B-32-hf` (a folder of this repository), after
// scripts/build-web. For each device: the first load and one from the browser's store, the module's memory, the first answer and
// the median of later ones.

import { browse, root, SWIFTSHADER } from './browser.mjs';
import { serve } from './server.mjs';

const [model = '/assets/pico', rounds = '5'] = process.argv.slice(2);
const server = await serve(root);
const measured = { model, rounds: Number(rounds) };
for (const device of ['webgpu', 'wasm']) {
  await browse(SWIFTSHADER, async (page) => {
    await page.goto(`${server.url}/tests/web/bare.html`);
    await page.waitForFunction(() => globalThis.Clip);
    measured[device] = await page.evaluate(async ({ model, device, rounds }) => {
      const seconds = async (call) => {
        const began = performance.now();
        return [await call(), (performance.now() - began) / 1000];
      };
      const load = () => Clip.load(model, { device, batch: 1 });
      const [first, cold] = await seconds(load);
      first.dispose();
      const [clip, warm] = await seconds(load);
      const loaded = await clip.memory();
      const picture = await (await fetch('/assets/samples/tiger.jpg')).blob();
      const of = async (call) => {
        const [, first] = await seconds(call);
        const times = [];
        for (let i = 0; i < rounds; i++) times.push((await seconds(call))[1]);
        return { first_ms: Math.round(1000 * first), median_ms: Math.round(1000 * times.sort((a, b) => a - b)[rounds >> 1]) };
      };
      const image = await of(() => clip.encodeImages([picture]));
      const text = await of(() => clip.encodeTexts(['a photo of a tiger in the grass beside a river, seen from far away on a cloudy day']));
      return { device: clip.device, adapter: clip.adapter, first_load_s: +cold.toFixed(2), load_from_store_s: +warm.toFixed(2), weights_mb: Math.round(clip.weightBytes / 1e6), memory_after_load_mb: Math.round(loaded / 1e6), memory_at_the_end_mb: Math.round((await clip.memory()) / 1e6), image, text };
    }, { model, device, rounds: Number(rounds) });
    console.log(JSON.stringify(measured[device]));
  });
}
server.close();
