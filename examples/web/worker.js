// Runs the engine: one call after another. A lost device is opened anew, and the call that met it is made again.

import init, { Engine, wanted_files } from './pkg/clip_wgpu_web.js';
import { filesOf, fetched } from './store.js';

// The model in the box. The expressions stand in full, so that bundlers find the files.
const PICO = {
  'config.json': new URL('./pkg/pico/config.json', import.meta.url),
  'preprocessor_config.json': new URL('./pkg/pico/preprocessor_config.json', import.meta.url),
  'tokenizer.json': new URL('./pkg/pico/tokenizer.json', import.meta.url),
  'model.safetensors': new URL('./pkg/pico/model.safetensors', import.meta.url),
};

const started = init();
let queue = started.catch(() => {}); // each call awaits it and tells
let wasm, engine, loaded, labels;

onmessage = ({ data }) => {
  queue = queue.then(() => answer(data));
};

async function answer({ id, method, args }) {
  try {
    wasm = await started;
    postMessage({ id, value: await again(() => calls[method](...args)) });
  } catch (error) {
    postMessage({ id, error: { message: error?.message ?? String(error), code: error?.code } });
  } finally {
    for (const picture of Array.isArray(args[0]) ? args[0] : []) picture?.close?.(); // unclosed frames stop a camera
  }
}

async function again(call) {
  try {
    return await call();
  } catch (error) {
    if (error?.code !== 'device-lost' || !loaded) throw error;
    await open();
    if (labels) await engine.set_labels(...labels);
    postMessage({ restored: `${error.message}; the model has been loaded again` });
    return call();
  }
}

async function open() {
  engine?.free();
  engine = undefined;
  const { name, files, options } = loaded;
  const told = (done, total) => postMessage({ progress: { status: 'upload', loaded: done, total } });
  engine = await Engine.load(name, files, options, told);
  postMessage({ progress: { status: 'compile', loaded: 0, total: 1 } });
  await engine.compile();
}

const calls = {
  async load(source, options) {
    const told = (progress) => postMessage({ progress: { status: 'download', ...progress } });
    const files = source === 'pico' ? await fetched(PICO) : await filesOf(source, options, wanted_files, told);
    const name = typeof source === 'string' ? source : (source[0]?.name ?? 'files');
    loaded = { name, files, options };
    await open();
    const info = await (await navigator.gpu?.requestAdapter())?.info;
    const adapter = engine.device === 'webgpu' ? [info?.vendor, info?.architecture, info?.description].filter(Boolean).join(' ') || 'WebGPU' : 'the processor';
    postMessage({ progress: { status: 'ready', loaded: 1, total: 1 } });
    return { device: engine.device, adapter, size: engine.size, width: engine.width, weightBytes: engine.weight_bytes, score: engine.score };
  },

  async encodeImages(pictures) {
    const { bytes, frames } = await sorted(pictures);
    if (!frames) return rows(await engine.encode_images(bytes), engine.width);
    const out = [];
    for (const picture of pictures) {
      out.push(isFrame(picture) ? await engine.encode_frame(picture, ...sizeOf(picture)) : await engine.encode_images([await taken(picture)]));
    }
    return out;
  },

  async encodeTexts(texts) {
    return rows(await engine.encode_texts(texts), engine.width);
  },

  async setLabels(...given) {
    await engine.set_labels(...given);
    labels = given;
    return engine.encoded_prompts;
  },

  async classify(pictures, options) {
    const score = options.score ?? engine.score;
    const { bytes, frames } = await sorted(pictures);
    if (!labels) throw Object.assign(new Error('expected labels to be set before pictures are scored'), { code: 'argument' });
    const width = labels[0].length;
    if (!frames) return rows(await engine.classify(bytes, score), width).map((row) => labelled(row, options));
    const out = [];
    for (const picture of pictures) {
      const row = isFrame(picture)
        ? await engine.classify_frame(picture, ...sizeOf(picture), score)
        : await engine.classify([await taken(picture)], score);
      out.push(labelled(row, options));
    }
    return out;
  },

  async pixels(pictures) {
    const { bytes, frames } = await sorted(pictures);
    if (!frames) return engine.pixels(bytes);
    return engine.frame_pixels(pictures[0], ...sizeOf(pictures[0]));
  },

  // What is preprocessed or tokenised already.
  encodePixels: async (pixels) => rows(await engine.encode_pixels(pixels), engine.width),
  encodeIds: async (ids, width) => rows(await engine.encode_ids(ids, width), engine.width),

  memory: async () => wasm.memory.buffer.byteLength,

  profile: async () => engine.profile(),

  // For tests of what happens then.
  loseDevice: async () => engine.lose_device(),
};

// Frames are the device's business; the CPU executor takes their pixels.
const isFrame = (picture) => engine.device === 'webgpu' && !(picture instanceof Blob) && !(picture instanceof ImageData);
const sizeOf = (frame) => [frame.displayWidth ?? frame.width, frame.displayHeight ?? frame.height];

async function sorted(pictures) {
  if (pictures.some(isFrame)) return { frames: true };
  return { bytes: await Promise.all(pictures.map(taken)) };
}

async function taken(picture) {
  if (picture instanceof Blob) return new Uint8Array(await picture.arrayBuffer());
  if (picture instanceof ImageData) return picture;
  const canvas = new OffscreenCanvas(...sizeOf(picture));
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

const rows = (data, width) => Array.from({ length: data.length / width }, (_, i) => data.slice(i * width, (i + 1) * width));

function labelled(row, { threshold, top, unsorted }) {
  let all = Array.from(row, (score, i) => ({ label: labels[0][i], score }));
  if (threshold !== undefined) all = all.filter(({ score }) => score >= threshold);
  if (!unsorted) all.sort((a, b) => b.score - a.score);
  return top === undefined ? all : all.slice(0, top);
}
