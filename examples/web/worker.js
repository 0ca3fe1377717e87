// Runs the engine: one call after another. A lost device is opened anew, and the call that met it is made again.

import init, { Engine, wanted_files } from './pkg/clip_wgpu_web.js';
import { filesOf, fetched, forget } from './store.js';

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
    const code = typeof error?.code === 'string' ? error.code : error instanceof DOMException ? 'read' : undefined;
    postMessage({ id, error: { message: error?.message ?? String(error), code } });
  } finally {
    for (const picture of Array.isArray(args[0]) ? args[0] : []) picture?.close?.(); // unclosed frames stop a camera
  }
}

async function again(call) {
  try {
    if (loaded && !engine) await reopen('the device was lost');
    return await call();
  } catch (error) {
    if (error?.code !== 'device-lost' || !loaded) throw error;
    await reopen(error.message);
    return call();
  }
}

async function reopen(why) {
  try {
    await open();
    if (labels) await engine.set_labels(...labels);
    postMessage({ restored: { message: `${why}; the model has been loaded again`, info: await info() } });
  } catch (error) {
    engine?.free();
    engine = undefined; // the next call tries again
    throw error;
  }
}

async function info() {
  const found = (await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' }))?.info;
  const named = [found?.vendor, found?.architecture, found?.description].filter(Boolean).join(' ') || 'WebGPU';
  const adapter = engine.device === 'webgpu' ? named : 'the processor';
  return { device: engine.device, adapter, size: engine.size, width: engine.width, weightBytes: engine.weight_bytes, score: engine.score };
}

async function open() {
  engine?.free();
  engine = undefined;
  const { name, files, options } = loaded;
  const told = (done, total) => postMessage({ progress: { status: 'upload', loaded: done, total } });
  engine = await Engine.load(name, files, options, told);
  postMessage({ progress: { status: 'compile', loaded: 0, total: 1 } });
  await engine.compile();
  engine.notes.forEach((note) => console.warn(note));
  postMessage({ progress: { status: 'ready', loaded: 1, total: 1 } });
}

const calls = {
  async load(source, options) {
    const told = (progress) => postMessage({ progress: { status: 'download', ...progress } });
    const files = source === 'pico' ? await fetched(PICO) : await filesOf(source, options, wanted_files, told);
    const name = typeof source === 'string' ? source : (source[0]?.name ?? 'files');
    loaded = { name, files, options };
    try {
      await open();
    } catch (error) {
      if (error?.code === 'model') await forget(source, options); // the server may be put right
      throw error;
    }
    return info();
  },

  async encodeImages(pictures) {
    const parts = await each(pictures, (...frame) => engine.encode_frame(...frame), (some) => engine.encode_images(some));
    return parts.flatMap((part) => rows(part, engine.width));
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
    if (!labels) throw Object.assign(new Error('expected labels to be set before pictures are scored'), { code: 'argument' });
    const parts = await each(pictures, (...frame) => engine.classify_frame(...frame, score), (some) => engine.classify(some, score));
    return parts.flatMap((part) => rows(part, labels[0].length)).map((row) => labelled(row, options));
  },

  async pixels(pictures) {
    const parts = await each(pictures, (...frame) => engine.frame_pixels(...frame), (some) => engine.pixels(some));
    return Float32Array.from(parts.flatMap((part) => Array.from(part)));
  },

  // What is preprocessed or tokenised already.
  encodePixels: async (pixels) => rows(await engine.encode_pixels(pixels), engine.width),
  encodeIds: async (ids, width) => rows(await engine.encode_ids(ids, width), engine.width),

  memory: async () => wasm.memory.buffer.byteLength,

  profile: async () => engine.profile(),

  // For tests of what happens then.
  loseDevice: async () => engine.lose_device(),
};

// Frames are the device's business, where its textures hold them; the CPU executor takes their pixels.
const isFrame = (picture) =>
  engine.device === 'webgpu' && !(picture instanceof Blob) && !(picture instanceof ImageData) && Math.max(...sizeOf(picture)) <= engine.most_side;
const sizeOf = (frame) => [frame.displayWidth ?? frame.width, frame.displayHeight ?? frame.height];

/** What is made of pictures, in order: of frames one by one, of the rest a few at a time (decoded, a photograph takes 36 MB and
 * more, and the module's memory ends at 4 GB). */
async function each(pictures, ofFrame, ofRest) {
  const most = loaded.options.batch ?? 8, made = [];
  for (let at = 0, end; at < pictures.length; at = end) {
    const frame = isFrame(pictures[at]);
    for (end = at + 1; !frame && end < Math.min(at + most, pictures.length) && !isFrame(pictures[end]); ) end++;
    try {
      made.push(await (frame ? taking(pictures[at], ofFrame) : ofRest(await Promise.all(pictures.slice(at, end).map(taken)))));
    } catch (error) {
      if (pictures.length > 1 && error?.code === 'picture') error.message = `picture ${at + (error.index ?? 0) + 1}: ${error.message}`;
      throw error;
    }
  }
  return made;
}

/** A frame by the device. Firefox takes no VideoFrame there, and some drivers cannot: then a bitmap of it. */
async function taking(frame, ofFrame) {
  try {
    return await ofFrame(frame, ...sizeOf(frame));
  } catch (error) {
    if (typeof error?.code === 'string' || !(globalThis.VideoFrame && frame instanceof VideoFrame)) throw error; // the engine's own
    const bitmap = await createImageBitmap(frame);
    try {
      return await ofFrame(bitmap, ...sizeOf(bitmap));
    } finally {
      bitmap.close();
    }
  }
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
