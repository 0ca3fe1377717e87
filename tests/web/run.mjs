// The browser package and the page in Chromium, on WebGPU's software adapter: `scripts/test-web`.
//
//     node tests/web/run.mjs [NAME...]        the tests whose names contain one of these

import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { browse, NO_WEBGPU, root, SWIFTSHADER, WITH_VIDEO } from './browser.mjs';
import { serve } from './server.mjs';

const shots = path.join(root, 'target/web-shots');
fs.mkdirSync(shots, { recursive: true });

const server = await serve(root);

/** A page without the demonstration, for the package alone: `f(Clip, argument)` runs in it. */
async function bare(page) {
  await page.goto(`${server.url}/tests/web/bare.html`);
  await page.waitForFunction(() => globalThis.Clip);
}

const equal = (got, want, what) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: expected ${JSON.stringify(want)}, found ${JSON.stringify(got)}`);
};
const below = (got, bound, what) => {
  console.log(`    ${what}: ${got.toExponential(1)}`);
  if (!(got <= bound)) throw new Error(`${what}: ${got} is above ${bound}`);
};
const native = (...args) => JSON.parse(execFileSync(path.join(root, 'target/debug/clip-wgpu'), [...args, '-q', '--json', '--device', 'cpu'], { cwd: root, maxBuffer: 1 << 28 }));
const greatest = (a, b) => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), a.length === b.length ? 0 : Infinity);

const SAMPLES = fs.readdirSync(path.join(root, 'assets/samples')).map((name) => `assets/samples/${name}`);

const tests = {
  /** Golden models against PyTorch's numbers, by the bound of the native tests. */
  async 'embeddings are PyTorch\'s'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      for (const model of ['hf_quick', 'hf_gelu', 'hf_bf16', 'open_clip_quick', 'siglip_hf', 'openai_script']) {
        for (const device of ['webgpu', 'wasm']) {
          const worst = await page.evaluate(golden, { url: `/tests/golden/${model}/`, device });
          below(worst, 2e-4, `${model} on ${device}, in standard deviations`);
        }
      }
    });
  },

  /** Towers of many tokens, where kernels go more than one round: the processor's numbers, which are PyTorch's. */
  async 'long rows are those of the processor'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      for (const [what, worst] of Object.entries(await page.evaluate(long))) below(worst, 2e-4, `${what}, in standard deviations`);
    });
  },

  async 'pictures and texts are those of the native build'() {
    const [images, texts] = [native('embed', 'image', '-m', 'pico', ...SAMPLES), native('embed', 'text', '-m', 'pico', 'a red circle', 'a tiger', 'x')];
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      for (const device of ['webgpu', 'wasm']) {
        const found = await page.evaluate(async ({ samples, device }) => {
          const clip = await Clip.load('pico', { device });
          const blobs = await Promise.all(samples.map(async (s) => (await fetch(`/${s}`)).blob()));
          const out = { images: (await clip.encodeImages(blobs)).map((r) => [...r]), texts: (await clip.encodeTexts(['a red circle', 'a tiger', 'x'])).map((r) => [...r]), device: clip.device };
          clip.dispose();
          return out;
        }, { samples: SAMPLES, device });
        equal(found.device, device, 'device');
        const rows = (document) => document.embeddings.map((e) => e.embedding);
        below(greatest(found.images.flat(), rows(images).flat()), 2e-5, `${SAMPLES.length} pictures on ${device}`);
        below(greatest(found.texts.flat(), rows(texts).flat()), 2e-5, `texts on ${device}`);
      }
    });
  },

  /** Files decoded here, bitmaps resized on the GPU: the same pixels. */
  async 'a frame on the GPU has the pixels of its file'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const worst = await page.evaluate(async () => {
        const clip = await Clip.load('pico', { device: 'webgpu' });
        const worst = {};
        for (const name of ['300x203.png', 'rgb.png']) {
          const blob = await (await fetch(`/tests/input/pictures/${name}`)).blob();
          const bitmap = await createImageBitmap(blob, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
          const [file, frame] = [await clip.pixels([blob]), await clip.pixels([bitmap])];
          worst[name] = file.reduce((most, v, i) => Math.max(most, Math.abs(v - frame[i])), file.length === frame.length ? 0 : Infinity);
        }
        return worst;
      });
      for (const [name, difference] of Object.entries(worst)) below(difference, 0, name);
    });
  },

  async 'an edited label is the only one encoded'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const counts = await page.evaluate(async () => {
        const clip = await Clip.load('pico', { device: 'webgpu' });
        return [await clip.setLabels(['red circle', 'tiger', 'guitar']), await clip.setLabels(['red circle', 'lion', 'guitar']), await clip.setLabels(['lion', 'red circle'])];
      });
      equal(counts, [3, 4, 4], 'prompts encoded');
    });
  },

  async 'a second load asks for nothing, and a break goes on'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      let cuts = 0;
      const from = [];
      server.cut = (name, start, end) => {
        if (!name.endsWith('pico/model.safetensors') || end - start === 1) return Infinity; // that asks for its size
        from.push(start);
        return cuts++ === 0 ? 3_000_000 : Infinity;
      };
      const load = () => page.evaluate(async () => {
        const steps = [];
        const clip = await Clip.load('/assets/pico', { device: 'webgpu', onProgress: (p) => steps.push(p) });
        const [row] = await clip.encodeTexts(['a tiger']);
        const memory = await clip.memory();
        clip.dispose();
        return { row: [...row], last: steps.filter((s) => s.status === 'download').pop(), statuses: [...new Set(steps.map((s) => s.status))], memory };
      });
      const first = await load();
      server.cut = () => Infinity;
      equal(first.statuses, ['download', 'upload', 'compile', 'ready'], 'progress');
      equal(first.last.loaded, first.last.total, 'bytes at the end');
      if (!from.some((start) => start > 0 && start <= 3_000_000)) throw new Error(`the download did not go on where it broke: ${from}`);
      server.asked.length = 0;
      const second = await load();
      equal(server.asked.filter((name) => !/\.(js|wasm|html)$/.test(name)), [], 'requests of the second load');
      equal(second.row, first.row, 'embedding');
    });
  },

  async 'two loads at once, a refreshed model, and one that is forgotten'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const asked = () => server.asked.splice(0).filter((name) => name.endsWith('pico/model.safetensors')).length;
      const load = (options, count = 1) => page.evaluate(async ([options, count]) => {
        const one = async () => {
          const clip = await Clip.load('/assets/pico', { device: 'wasm', ...options });
          const [row] = await clip.encodeTexts(['a tiger']);
          clip.dispose();
          return [...row];
        };
        return Promise.all(Array.from({ length: count }, one));
      }, [options, count]);
      asked();
      const [row, ...others] = await load({}, 3);
      equal(others, [row, row], 'embeddings of three pages at once');
      equal(asked(), 2, 'requests: the size, and the file');
      equal(await load({ cache: 'refresh' }), [row], 'of a model that is looked at again');
      equal(asked(), 1, 'requests: the size, which has not changed');
      await page.evaluate(() => Clip.forget('/assets/pico'));
      equal(await load({}), [row], 'of a model that was forgotten');
      equal(asked(), 2, 'requests: the size, and the file');
    });
  },

  async 'servers that give no parts of files, or do not say how long they are'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const load = (options) => page.evaluate(async (options) => {
        const clip = await Clip.load('/assets/pico', { device: 'wasm', ...options });
        const [row] = await clip.encodeTexts(['a tiger']);
        clip.dispose();
        return [...row];
      }, options);
      const row = await load({ cache: false });
      try {
        for (const [ranges, lengths] of [[false, true], [false, false]]) {
          Object.assign(server, { ranges, lengths });
          server.asked.length = 0;
          equal(await load({ cache: false }), row, 'embedding');
          equal(server.asked.filter((name) => name.endsWith('pico/model.safetensors')).length, 2, 'requests: one is cancelled, one is read');
          await page.evaluate(() => Clip.forget('/assets/pico'));
          equal(await load({}), row, 'embedding, through the store');
        }
      } finally {
        Object.assign(server, { ranges: true, lengths: true });
      }
    });
  },

  /** A server that is busy has the file all the same, and one that answers every name with a page has not. */
  async 'what a server refuses is not taken for missing'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const load = () => page.evaluate(async () => {
        try {
          const clip = await Clip.load('../../assets/pico', { device: 'wasm' }); // from the page on
          const [row] = await clip.encodeTexts(['a tiger']);
          clip.dispose();
          return row.length;
        } catch (error) {
          return [error.name, error.code, error.message];
        }
      });
      server.refused = (name) => (name.endsWith('/preprocessor_config.json') ? 503 : null);
      const [name, code, message] = await load();
      server.refused = () => null;
      equal([name, code, /preprocessor_config.json: the server answered 503/.test(message)], ['ClipError', 'read', true], message);
      server.pages = true;
      equal(await load(), 128, 'width, with pages for what is not there');
      server.pages = false;
    });
  },

  async 'a signal ends loading and not a model that is loaded'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const found = await page.evaluate(async () => {
        const code = (call) => call().then(() => 'done', (e) => e.code);
        const [stop, late] = [new AbortController(), new AbortController()];
        const clip = await Clip.load('pico', { device: 'wasm', signal: late.signal });
        late.abort();
        const loading = code(() => Clip.load('pico', { device: 'wasm', signal: stop.signal }));
        stop.abort();
        return [await code(() => clip.encodeTexts(['x'])), await loading, await code(() => Clip.load('pico', { signal: stop.signal }))];
      });
      equal(found, ['done', 'aborted', 'aborted'], 'codes');
    });
  },

  /** The device's textures end at 8,192 pixels. */
  async 'a panorama that is drawn already is the picture that it is as a file'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const [difference, count] = await page.evaluate(async () => {
        const clip = await Clip.load('pico', { device: 'webgpu' });
        const canvas = new OffscreenCanvas(9000, 300), context = canvas.getContext('2d');
        for (let x = 0; x < 9000; x += 90) (context.fillStyle = `hsl(${x / 25} 90% 50%)`), context.fillRect(x, x / 60, 90, 300);
        const [file, frame] = [await clip.pixels([await canvas.convertToBlob()]), await clip.pixels([canvas, canvas])];
        return [file.reduce((most, v, i) => Math.max(most, Math.abs(v - frame[i]), Math.abs(v - frame[file.length + i])), 0), frame.length / file.length];
      });
      equal(count, 2, 'pictures');
      below(difference, 0.02, 'pixels'); // alpha is drawn
    });
  },

  async 'a model of the Hub, by its name'() {
    server.hub = { 'someone/tiny-clip': 'assets/pico' };
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      server.asked.length = 0;
      const { same, error } = await page.evaluate(async () => {
        const [box, hub] = [await Clip.load('pico', { device: 'wasm' }), await Clip.load('someone/tiny-clip', { device: 'wasm', hub: location.origin })];
        const [[a], [b]] = [await box.encodeTexts(['a tiger']), await hub.encodeTexts(['a tiger'])];
        const error = await Clip.load('someone/else', { hub: location.origin }).catch((e) => [e.code, e.message]);
        return { same: a.every((v, i) => v === b[i]), error };
      });
      equal(same, true, 'the same embedding');
      equal(error, ['model', 'someone/else: the Hub answered 404 (no such public model)'], 'error');
      // What the model needs, and nothing else of the repository.
      const files = new Set(server.asked.filter((name) => name.startsWith('/someone/tiny-clip')).map((name) => path.basename(name)));
      equal([...files].sort(), ['config.json', 'model.safetensors', 'preprocessor_config.json', 'tokenizer.json'], 'files');
    });
  },

  async 'a crash of the GPU process is survived'() {
    await browse(SWIFTSHADER, async (page, context) => {
      await bare(page);
      await page.evaluate(async () => {
        globalThis.told = [];
        globalThis.clip = await Clip.load('pico', { device: 'webgpu', onRestored: (m) => told.push(m) });
        globalThis.before = await clip.encodeTexts(['a tiger']);
        globalThis.spare = await (await navigator.gpu.requestAdapter()).requestDevice();
        globalThis.gone = spare.lost.then(() => null);
      });
      const session = await context.browser()?.newBrowserCDPSession();
      await (session ?? (await context.newCDPSession(page))).send('Browser.crashGpuProcess').catch(() => {});
      await page.evaluate(() => Promise.race([gone, new Promise((done) => setTimeout(done, 60000))]));
      const same = await page.evaluate(async () => {
        const [[a], [b]] = [before, await clip.encodeTexts(['a tiger'])];
        return [a.every((v, i) => Math.abs(v - b[i]) < 1e-6), told.length];
      });
      equal(same, [true, 1], 'embedding, messages');
    });
  },

  async 'a lost device is opened again'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const { before, after, told } = await page.evaluate(async () => {
        const told = [];
        const clip = await Clip.load('pico', { device: 'webgpu', onRestored: (m) => told.push(m) });
        await clip.setLabels(['tiger', 'guitar']);
        const blob = await (await fetch('/assets/samples/tiger.jpg')).blob();
        const before = await clip.classify(blob);
        await clip.loseDevice();
        return { before, after: await clip.classify(blob), told };
      });
      equal(after, before, 'scores');
      equal(told.length, 1, 'messages');
      if (!told[0].includes('loaded again')) throw new Error(told[0]);
    });
  },

  async 'without WebGPU the processor runs, and the page says so'() {
    await browse(NO_WEBGPU, async (page) => {
      await page.goto(`${server.url}/examples/web/page/index.html`);
      await page.waitForSelector('body[data-state=ready]', { timeout: 60000 });
      await page.waitForFunction(() => document.querySelector('#labels .leads'));
      equal(await page.evaluate(() => globalThis.page.clip.device), 'wasm', 'device');
      if (!(await page.textContent('#note')).includes('running on the processor')) throw new Error('nothing is said');
      equal(await page.textContent('#leading'), 'teapot', 'leading label of the sample');
      await page.screenshot({ path: path.join(shots, 'processor.png') });
    });
  },

  async 'twenty loads give their memory back'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const loads = (n) => page.evaluate(async (n) => {
        for (let i = 0; i < n; i++) {
          const clip = await Clip.load('pico', { device: 'webgpu' });
          await clip.encodeTexts(['a tiger']);
          clip.dispose();
        }
        await new Promise((next) => setTimeout(next, 1000));
      }, n);
      await loads(2);
      const before = memory();
      await loads(20);
      const growth = memory() - before;
      console.log(`    all of the browser's processes grew by ${(growth / 2 ** 20).toFixed(0)} MiB`);
      // Twenty times the weights alone, were they kept, are 150 MB.
      if (growth > 60e6) throw new Error(`${growth} bytes were kept`);
    });
  },

  async 'a project of Vite takes the package as it is'() {
    const project = path.join(root, 'target/web-vite');
    fs.rmSync(project, { recursive: true, force: true });
    fs.mkdirSync(path.join(project, 'node_modules'), { recursive: true });
    fs.symlinkSync(path.join(root, 'examples/web'), path.join(project, 'node_modules/clip-wgpu'));
    fs.writeFileSync(path.join(project, 'package.json'), '{ "type": "module", "dependencies": { "clip-wgpu": "*" } }');
    fs.writeFileSync(path.join(project, 'index.html'), '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/main.js"></script>');
    fs.writeFileSync(path.join(project, 'main.js'), `import { Clip } from 'clip-wgpu';
      const clip = await Clip.load('pico', { device: 'webgpu' });
      await clip.setLabels(['tiger', 'guitar', 'red circle'], { templates: ['a photo of a {}'] });
      globalThis.found = await clip.classify(await (await fetch('/assets/samples/tiger.jpg')).blob());`);
    execFileSync(path.join(root, 'target/web-tools/node_modules/.bin/vite'), ['build', '--base', '/target/web-vite/dist/', '--logLevel', 'warn'], { cwd: project, stdio: ['ignore', 'ignore', 'inherit'] });
    await browse(SWIFTSHADER, async (page) => {
      await page.goto(`${server.url}/target/web-vite/dist/index.html`);
      await page.waitForFunction(() => globalThis.found, null, { timeout: 60000 });
      equal(await page.evaluate(() => globalThis.found[0].label), 'tiger', 'first label');
    });
  },

  /** What a person sees on the way, and when something goes wrong; the pictures are for looking at. */
  async 'every state says what it is'() {
    const shot = (page, name) => page.screenshot({ path: path.join(shots, `${name}.png`) });
    await browse([...WITH_VIDEO, '--use-fake-device-for-media-stream', '--deny-permission-prompts'], async (page) => {
      let go;
      const held = new Promise((ready) => (go = ready));
      await page.route('**/model.safetensors', async (route) => (await held, route.continue()));
      await page.goto(`${server.url}/examples/web/page/index.html`);
      await page.waitForFunction(() => /loading/.test(document.querySelector('#line').textContent));
      if (!(await page.isVisible('#cancel'))) throw new Error('a load that cannot be cancelled');
      await shot(page, 'loading');
      go();
      // Every line and note that was shown on the way.
      await page.evaluate(() => {
        for (const shown of ['line', 'note']) {
          const [element, all] = [document.querySelector(`#${shown}`), (globalThis[`${shown}s`] = [])];
          new MutationObserver(() => all.push(element.textContent)).observe(element, { childList: true });
        }
      });
      await page.waitForSelector('body[data-state=ready]', { timeout: 120000 });
      await page.evaluate(() => (document.querySelector('#device').value = 'webgpu', document.body.removeAttribute('data-state'), document.querySelector('#load').click()));
      await page.waitForFunction(() => lines.includes('compiling'), null, { timeout: 60000 });
      await page.waitForSelector('body[data-state=ready]', { timeout: 120000 });
      await page.waitForSelector('#labels .leads', { timeout: 60000 });
      await page.click('#camera');
      await page.waitForFunction(() => notes.some((note) => /camera/i.test(note)));
      console.log(`    ${await page.evaluate(() => notes.find((note) => /camera/i.test(note)))}`);
      await shot(page, 'camera-refused');
      const bad = path.join(root, 'target/web-bad.png');
      fs.writeFileSync(bad, 'this is a text');
      await page.setInputFiles('#files', [bad]);
      await page.waitForFunction(() => /web-bad\.png: expected a picture/.test(document.querySelector('#note').textContent));
      equal(await page.textContent('#leading'), '', 'scores of the picture before');
      await page.setInputFiles('#files', [path.join(root, 'assets/samples/tiger.jpg'), bad, path.join(root, SAMPLES[0])]);
      await page.waitForSelector('body[data-gallery="3"]', { timeout: 60000 });
      const note = await page.textContent('#note');
      if (!/web-bad\.png: expected a picture/.test(note)) throw new Error(note);
      await shot(page, 'unreadable');
      await page.evaluate(() => globalThis.page.clip.loseDevice());
      await page.click('#sample');
      await page.waitForFunction(() => notes.some((note) => /loaded again/.test(note)), null, { timeout: 60000 });
      if (await page.isVisible('#gallery')) throw new Error('the gallery stands over the picture');
      await shot(page, 'lost');
      await page.evaluate(() => (document.querySelector('#model').value = 'nobody/nothing', document.querySelector('#load').click()));
      await page.waitForFunction(() => /no model/.test(document.querySelector('#line').textContent), null, { timeout: 60000 });
      const why = await page.textContent('#note');
      if (!/huggingface.co cannot be reached/.test(why)) throw new Error(why);
      await shot(page, 'no-model');
    });
  },

  async 'errors say what to do, and the others go on'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const errors = await page.evaluate(async () => {
        const caught = async (call) => call().then(() => null, (e) => ({ name: e.name, code: e.code, message: e.message }));
        const clip = await Clip.load('pico', { device: 'webgpu' });
        return [
          await caught(() => clip.encodeImages([new Blob(['no picture'])])),
          await caught(() => clip.classify(new Blob(['x']))),
          await caught(() => clip.setLabels(['a', 'a'])),
          await caught(() => Clip.load('/assets/samples')),
          await caught(() => Clip.load('pico', { device: 'tpu' })),
          await caught(async () => clip.encodeImages([...Array(9).fill(await (await fetch('/assets/samples/tiger.jpg')).blob()), new Blob(['no picture'])])),
          await caught(() => clip.encodeImages(new ImageData(2, 2, { colorSpace: 'display-p3' }))),
          await caught(() => clip.classify(new Blob(['x']), { score: () => 0 })),
          await caught(async () => (clip.dispose(), clip.encodeTexts(['x']))),
        ];
      });
      equal(errors.map((e) => [e.name, e.code]), [['ClipError', 'picture'], ['ClipError', 'argument'], ['ClipError', 'argument'], ['ClipError', 'model'], ['ClipError', 'argument'], ['ClipError', 'picture'], ['ClipError', 'argument'], ['ClipError', 'argument'], ['ClipError', 'aborted']], 'codes');
      for (const [i, part] of ['expected a picture', 'labels', '`a` is given twice', "expected a model's folder", 'expected a device auto, webgpu or wasm', 'picture 10: expected a picture', 'expected ImageData of 8 bits in srgb', 'could not be cloned', 'disposed'].entries()) {
        if (!errors[i].message.includes(part)) throw new Error(errors[i].message);
      }
    });
  },

  async 'layers multiply in f16 where WebGPU has it'() {
    await browse(SWIFTSHADER, async (page) => {
      await bare(page);
      const [can, here, wasm] = await page.evaluate(async () => {
        const texts = async (options) => {
          const clip = await Clip.load('pico', options);
          const rows = (await clip.encodeTexts(['a red circle', 'a tiger', 'x'])).map((r) => [...r]);
          clip.dispose();
          return rows;
        };
        const caught = (call) => call.catch((e) => `${e.code}: ${e.message}`);
        const adapter = await navigator.gpu.requestAdapter();
        const exact = await texts({ device: 'webgpu' });
        const found = await caught(texts({ device: 'webgpu', compute: 'f16' }));
        const dot = (a, b) => a.reduce((sum, v, j) => sum + v * b[j], 0);
        const apart = (a, b) => 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
        const worst = Array.isArray(found) ? Math.max(...found.map((row, i) => apart(row, exact[i]))) : found;
        return [adapter.features.has('shader-f16'), worst, await caught(texts({ device: 'wasm', compute: 'f16' }))];
      });
      if (can && !(here > 1e-9 && here < 1e-4)) throw new Error(`1 - cosine of f16: ${here}`); // f32 gives less
      if (!can && !String(here).startsWith('device: f16 arithmetic takes shader-f16')) throw new Error(here);
      if (!String(wasm).startsWith("argument: f16 arithmetic is WebGPU's")) throw new Error(wasm);
    });
  },

  async 'a hundred and one dropped pictures are searched by words'() {
    await browse(SWIFTSHADER, async (page) => {
      await page.goto(`${server.url}/examples/web/page/index.html`);
      await page.waitForSelector('body[data-state=ready]', { timeout: 120000 });
      await page.screenshot({ path: path.join(shots, 'page.png') });
      const many = Array.from({ length: 101 }, (_, i) => path.join(root, SAMPLES[i % SAMPLES.length]));
      await page.setInputFiles('#files', many);
      await page.waitForSelector('body[data-gallery="101"]', { timeout: 300000 });
      await page.fill('#query', 'a tiger');
      await page.waitForSelector('#gallery[data-query="a tiger"]');
      const first = await page.evaluate(() => [...document.querySelectorAll('#gallery button')].slice(0, 11).map((b) => b.title));
      equal(new Set(first).size === 1 && first[0], 'tiger.jpg', 'the first eleven');
      await page.screenshot({ path: path.join(shots, 'search.png') });
    });
  },

  /** What `clip-wgpu serve` shows: words from the address and typed, a picture clicked and one dropped, a server that is gone. */
  async 'the page of a served index'() {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'clip-wgpu-serve-'));
    const db = path.join(folder, 'index.sqlite');
    native('index', '-m', 'pico', 'assets/samples', '--db', db);
    const command = path.join(root, 'target/debug/clip-wgpu');
    const child = spawn(command, ['serve', '-q', '-m', 'pico', '--device', 'cpu', '--db', db, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const printed = new Promise((resolve, reject) => {
        child.stdout.once('data', resolve);
        child.once('exit', (code) => reject(new Error(`serve ended: ${code}`)));
        setTimeout(() => reject(new Error('serve says nothing')), 60000).unref();
      });
      const url = String(await printed).trim();
      await browse(NO_WEBGPU, async (page) => {
        const names = () => page.$$eval('#found span', (spans) => spans.map((s) => s.textContent.split(' ')[1]));
        const said = (text) => page.waitForFunction((text) => document.getElementById('said').textContent.includes(text), text);
        await page.goto(url);
        await said('9 pictures');
        equal(await page.$$eval('#found span', (spans) => spans[0].textContent), 'blue-square.png', 'the first by path');
        await page.goto(`${url}/?q=a%20tiger`);
        await said('9 nearest to “a tiger”');
        equal((await names())[0], 'tiger.jpg', 'the first');
        await page.waitForFunction(() => [...document.images].every((i) => i.complete && i.naturalWidth > 0));
        await page.screenshot({ path: path.join(shots, 'serve.png') });
        await page.fill('#words', 'a guitar');
        await page.press('#words', 'Enter');
        await said('“a guitar”');
        equal((await names())[0], 'guitar.jpg', 'the first of what was typed');
        equal(new URL(page.url()).searchParams.get('q'), 'a guitar', 'the address');
        const second = (await names())[1]; // before the click, which replaces it
        await page.click('#found li:nth-child(2) button');
        await said(second);
        equal((await names())[0], second, 'more like this');
        await page.fill('#words', 'fireworks');
        await page.press('#words', 'Enter');
        await said('no picture fits “fireworks”');
        equal(await names(), [], 'nonsense');
        await page.evaluate(async () => {
          const file = new File([await (await fetch('thumbnail?' + new URLSearchParams({ path: '/nowhere.jpg' }))).blob()], 'none.jpg');
          const data = new DataTransfer();
          data.items.add(file);
          document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
        });
        await said('image 0: ');
        equal(await page.$eval('#said', (s) => s.className), 'wrong', 'how a refusal looks');
        await page.fill('#words', 'a star');
        await page.press('#words', 'Enter');
        await said('“a star”');
        // A picture clicked whose thumbnail comes late does not replace what is asked for after it, and one that is gone is said.
        let go;
        const held = new Promise((ready) => (go = ready));
        await page.route('**/thumbnail?*', async (route) => (await held, route.continue()));
        await page.click('#found li:nth-child(2) button');
        await page.press('#words', 'Enter');
        await said('“a star”');
        const late = page.waitForResponse((r) => r.url().includes('thumbnail?') && r.request().resourceType() === 'fetch');
        go();
        await (await late).finished();
        await page.waitForTimeout(100); // for the page to read it
        await page.unroute('**/thumbnail?*');
        await page.route('**/thumbnail?*', (route) => route.fulfill({ status: 404, json: { error: 'not in the index' } }));
        equal((await page.textContent('#said')).includes('“a star”'), true, 'what was asked for last stays');
        await page.click('#found li:nth-child(2) button');
        await said('cannot be read: not in the index');
        await page.unroute('**/thumbnail?*');
        child.kill('SIGKILL');
        await page.route('**/thumbnail?*', (route) => route.abort());
        await page.click('#found li:nth-child(2) button');
        await said('the server does not answer');
        await page.evaluate(() => document.getElementById('said').replaceChildren());
        await page.press('#words', 'Enter');
        await said('the server does not answer');
      });
    } finally {
      child.kill('SIGKILL');
      fs.rmSync(folder, { recursive: true, force: true });
    }
  },

  async 'a camera gets its label'() {
    const camera = path.join(root, 'target/web-camera.y4m');
    fs.writeFileSync(camera, await y4m());
    // Without a driver that imports them, as in Firefox, frames go by a bitmap.
    for (const flags of [WITH_VIDEO, SWIFTSHADER]) await browse([...flags, '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-video-capture=${camera}`], async (page) => {
      await page.addInitScript(() => localStorage.setItem('clip-wgpu', JSON.stringify({ device: 'webgpu' })));
      await page.goto(`${server.url}/examples/web/page/index.html`);
      await page.waitForSelector('body[data-state=ready]', { timeout: 120000 });
      equal(await page.evaluate(() => globalThis.page.clip.device), 'webgpu', 'device');
      await page.evaluate(() => (globalThis.page.labels.set(['red circle', 'blue square', 'tiger'], false), globalThis.page.labels.changed()));
      await page.waitForSelector('#labels .leads', { timeout: 60000 }); // of the sample, which would end a camera begun before it
      await page.click('#camera');
      await page.waitForFunction(() => document.querySelector('#leading').textContent === 'red circle', null, { timeout: 120000 });
      await page.waitForTimeout(1500);
      equal(await page.textContent('#leading'), 'red circle', 'leading label');
      await page.screenshot({ path: path.join(shots, 'camera.png') });
    });
  },

  async 'a phone, in the dark, with two hundred labels'() {
    await browse(SWIFTSHADER, async (page) => {
      await page.emulateMedia({ colorScheme: 'dark' });
      await page.setViewportSize({ width: 390, height: 844 });
      await page.goto(`${server.url}/examples/web/page/index.html`);
      await page.waitForSelector('body[data-state=ready]', { timeout: 120000 });
      const names = fs.readFileSync(path.join(root, 'assets/pico/names.txt'), 'utf8').split('\n').filter(Boolean).slice(0, 199);
      await page.evaluate((names) => globalThis.page.labels.add([...names, 'a very long label that goes on and on until no line could hold it whole'].join('\n')), names);
      await page.waitForFunction(() => document.querySelectorAll('#labels li').length >= 200 && Number(document.body.dataset.encoded) >= 200, null, { timeout: 120000 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      equal(wide, 390, 'width without a horizontal scroll bar');
      await page.screenshot({ path: path.join(shots, 'phone.png') });
    });
  },
};

/** Resident bytes of all processes of the browser. */
function memory() {
  let bytes = 0;
  for (const process of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!fs.readFileSync(`/proc/${process}/cmdline`, 'utf8').includes('chrom')) continue;
      bytes += 1024 * Number(/^RssAnon:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${process}/status`, 'utf8'))?.[1] ?? 0);
    } catch {} // gone meanwhile
  }
  return bytes;
}

/** A drawing of a red circle as a camera's film: 64 frames of 160 × 120. */
async function y4m() {
  const [w, h, red, white] = [160, 120, [81, 90, 240], [235, 128, 128]];
  const frame = Buffer.alloc((w * h * 3) / 2);
  const at = (x, y) => ((x - w / 2) ** 2 + (y - h / 2) ** 2 < (h / 3.2) ** 2 ? red : white);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) frame[y * w + x] = at(x, y)[0];
  for (let y = 0; y < h / 2; y++) {
    for (let x = 0; x < w / 2; x++) {
      frame[w * h + (y * w) / 2 + x] = at(2 * x, 2 * y)[1];
      frame[(w * h * 5) / 4 + (y * w) / 2 + x] = at(2 * x, 2 * y)[2];
    }
  }
  const frames = Array.from({ length: 64 }, () => [Buffer.from('FRAME\n'), frame]).flat();
  return Buffer.concat([Buffer.from(`YUV4MPEG2 W${w} H${h} F15:1 Ip A1:1 C420jpeg\n`), ...frames]);
}

/** In the page: the greatest difference of both embeddings from PyTorch's, in standard deviations. */
async function golden({ url, device }) {
  const bytes = await (await fetch(`${url}expected.safetensors`)).arrayBuffer();
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
  const tensor = (name, Kind) => new Kind(bytes.slice(...head[name].data_offsets.map((o) => 8 + length + o)));
  const deviation = (got, want) => {
    const mean = want.reduce((a, b) => a + b) / want.length;
    const sigma = Math.sqrt(want.reduce((a, b) => a + (b - mean) ** 2, 0) / want.length);
    return got.reduce((most, v, i) => Math.max(most, Math.abs(v - want[i])), got.length === want.length ? 0 : Infinity) / sigma;
  };
  const files = ['config.json', 'open_clip_config.json', 'model.safetensors', 'open_clip_model.safetensors', 'model.pt', 'preprocessor_config.json', 'tokenizer.json'];
  const found = await Promise.all(files.map(async (name) => [name, await fetch(url + name)]));
  const blobs = await Promise.all(found.filter(([, r]) => r.ok).map(async ([name, r]) => new File([await r.blob()], name)));
  const clip = await Clip.load(blobs, { device });
  const flat = (rows) => rows.flatMap((row) => [...row]);
  const images = flat(await clip.encodePixels(tensor('pixels', Float32Array)));
  const ids = Uint32Array.from(tensor('ids', BigInt64Array), Number);
  const texts = flat(await clip.encodeIds(ids, head.ids.shape[1]));
  clip.dispose();
  return Math.max(deviation(images, tensor('vision.embedding', Float32Array)), deviation(texts, tensor('text.embedding', Float32Array)));
}

/** In the page: the same of a seeded model of 145 patches and 77 tokens, on WebGPU against the processor. */
async function long() {
  const [width, mlp, embed, context, vocabulary, size, patch] = [72, 144, 40, 77, 500, 96, 8];
  let seed = 7;
  const random = (n, scale) => Float32Array.from({ length: n }, () => ((seed = (seed * 1103515245 + 12345) % 2147483648), (seed / 1073741824 - 1) * scale));
  const tensors = {};
  const add = (name, ...shape) => (tensors[name] = { shape, data: random(shape.reduce((a, b) => a * b), shape.length > 1 ? 1.5 / Math.sqrt(shape[shape.length - 1]) : 0.3) });
  const norm = (name) => ((tensors[`${name}.weight`] = { shape: [width], data: random(width, 0.2).map((v) => v + 1) }), add(`${name}.bias`, width));
  for (const tower of ['vision_model', 'text_model']) {
    for (const layer of [0, 1]) {
      const at = `${tower}.encoder.layers.${layer}`;
      for (const part of ['q', 'k', 'v', 'out']) (add(`${at}.self_attn.${part}_proj.weight`, width, width), add(`${at}.self_attn.${part}_proj.bias`, width));
      (add(`${at}.mlp.fc1.weight`, mlp, width), add(`${at}.mlp.fc1.bias`, mlp), add(`${at}.mlp.fc2.weight`, width, mlp), add(`${at}.mlp.fc2.bias`, width));
      (norm(`${at}.layer_norm1`), norm(`${at}.layer_norm2`));
    }
  }
  (add('vision_model.embeddings.class_embedding', width), add('vision_model.embeddings.patch_embedding.weight', width, 3, patch, patch));
  (add('vision_model.embeddings.position_embedding.weight', (size / patch) ** 2 + 1, width), norm('vision_model.pre_layrnorm'), norm('vision_model.post_layernorm'));
  (add('text_model.embeddings.token_embedding.weight', vocabulary, width), add('text_model.embeddings.position_embedding.weight', context, width), norm('text_model.final_layer_norm'));
  (add('visual_projection.weight', embed, width), add('text_projection.weight', embed, width));
  tensors.logit_scale = { shape: [], data: Float32Array.of(2.6) };
  let at = 0;
  const head = Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => [name, { dtype: 'F32', shape, data_offsets: [at, (at += data.byteLength)] }]));
  const text = new TextEncoder().encode(JSON.stringify(head));
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(text.length), true);
  const tower = { hidden_size: width, intermediate_size: mlp, num_hidden_layers: 2, num_attention_heads: 2, hidden_act: 'quick_gelu' };
  const config = { model_type: 'clip', projection_dim: embed, vision_config: { ...tower, image_size: size, patch_size: patch },
    text_config: { ...tower, vocab_size: vocabulary, max_position_embeddings: context, eos_token_id: 2 } };
  const recipe = { image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: size }, crop_size: size };
  const files = [new File([length, text, ...Object.values(tensors).map((t) => t.data)], 'model.safetensors'), new File([JSON.stringify(config)], 'config.json'), new File([JSON.stringify(recipe)], 'preprocessor_config.json')];
  const pixels = random(2 * 3 * size * size, 1);
  const ids = Uint32Array.from({ length: 2 * context }, (_, i) => (i % context === context - 1 ? vocabulary - 1 : (i * 31) % (vocabulary - 1)));
  const found = {};
  for (const device of ['wasm', 'webgpu']) {
    const clip = await Clip.load(files, { device });
    found[device] = { images: (await clip.encodePixels(pixels)).flatMap((r) => [...r]), texts: (await clip.encodeIds(ids, context)).flatMap((r) => [...r]) };
    clip.dispose();
  }
  const deviation = (got, want) => {
    const sigma = Math.sqrt(want.reduce((a, b) => a + b * b, 0) / want.length);
    return got.reduce((most, v, i) => Math.max(most, Math.abs(v - want[i])), 0) / sigma;
  };
  return { 'pictures of 145 tokens': deviation(found.webgpu.images, found.wasm.images), 'texts of 77 tokens': deviation(found.webgpu.texts, found.wasm.texts) };
}

let [passed, failed] = [0, 0];
const wanted = process.argv.slice(2);
for (const [name, test] of Object.entries(tests).filter(([name]) => !wanted.length || wanted.some((w) => name.includes(w)))) {
  const began = Date.now();
  try {
    await test();
    passed++;
    console.log(`test ${name} ... ok (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed++;
    console.log(`test ${name} ... FAILED\n${error?.stack ?? error}`);
  } finally {
    server.cut = () => Infinity;
  }
}
server.close();
console.log(`\ntest result: ${failed ? 'FAILED' : 'ok'}. ${passed} passed; ${failed} failed; 0 ignored`);
process.exit(failed ? 1 : 0);
