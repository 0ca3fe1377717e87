// The page's side: posts calls to a worker of its own, which runs the engine.

export class ClipError extends Error {
  constructor({ message, code }) {
    super(message);
    this.name = 'ClipError';
    this.code = code ?? 'internal';
  }
}

export class Clip {
  #worker;
  #calls = new Map();
  #next = 0;
  #options;
  #ended; // why there is no worker any more

  static async load(source = 'pico', options = {}) {
    const { onProgress, onRestored, signal, ...plain } = options;
    const cancelled = { message: 'loading was cancelled', code: 'aborted' };
    if (signal?.aborted) throw new ClipError(cancelled);
    const clip = new Clip(options);
    const cancel = () => clip.#fail(cancelled);
    signal?.addEventListener('abort', cancel);
    try {
      Object.assign(clip, await clip.#call('load', [absolute(source), plain]));
    } catch (error) {
      clip.dispose();
      throw error;
    } finally {
      signal?.removeEventListener('abort', cancel); // a model that is loaded stays
    }
    return clip;
  }

  /** Takes what was downloaded of a model out of the browser's store. */
  static async forget(source, options = {}) {
    const { remove } = await import('./store.js');
    await remove(absolute(source), options);
  }

  constructor(options) {
    this.#options = options;
    try {
      this.#worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    } catch (error) {
      const how = 'the package has to come from the page\'s own origin, and a content security policy has to allow its worker';
      throw new ClipError({ message: `the worker could not be started: ${error.message} (${how})`, code: 'internal' });
    }
    this.#worker.onmessage = ({ data }) => this.#answer(data);
    // A panic leaves its call without an answer: all that wait are told.
    this.#worker.onerror = (event) => this.#fail({ message: event.message || 'the worker could not be started', code: 'internal' });
  }

  async encodeImages(pictures) {
    const several = Array.isArray(pictures);
    const rows = await this.#withPictures(several ? pictures : [pictures], 'encodeImages', []);
    return several ? rows : rows[0];
  }

  encodeTexts(texts) {
    return this.#call('encodeTexts', [texts]);
  }

  setLabels(labels, { templates = ['a photo of a {}'] } = {}) {
    return this.#call('setLabels', [labels, templates]);
  }

  async classify(pictures, options = {}) {
    const several = Array.isArray(pictures);
    const rows = await this.#withPictures(several ? pictures : [pictures], 'classify', [options]);
    return several ? rows : rows[0];
  }

  encodePixels(pixels) {
    return this.#call('encodePixels', [pixels]);
  }

  encodeIds(ids, width) {
    return this.#call('encodeIds', [ids, width]);
  }

  /** What the model reads of pictures, for checks. */
  pixels(pictures) {
    return this.#withPictures(pictures, 'pixels', []);
  }

  /** Where the time of a picture goes, for developers. */
  profile() {
    return this.#call('profile', []);
  }

  /** For tests of what happens then. */
  loseDevice() {
    return this.#call('loseDevice', []);
  }

  memory() {
    return this.#call('memory', []);
  }

  dispose() {
    this.#fail({ message: 'the model was disposed of', code: 'aborted' });
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.dispose();
  }

  async #withPictures(pictures, method, more) {
    const transfer = [];
    let sent;
    try {
      sent = await Promise.all(pictures.map((picture) => sendable(picture, transfer)));
    } catch (error) {
      transfer.forEach((frame) => frame.close());
      throw new ClipError({ message: error.message, code: error.code === 'argument' ? 'argument' : 'picture' }); // a closed frame, another site's video
    }
    return this.#call(method, [sent, ...more], transfer);
  }

  #call(method, args, transfer = []) {
    return new Promise((resolve, reject) => {
      if (!this.#worker) return reject(new ClipError(this.#ended));
      const id = this.#next++;
      this.#calls.set(id, { resolve, reject });
      try {
        this.#worker.postMessage({ id, method, args }, transfer);
      } catch (error) {
        this.#calls.delete(id); // a function among the options, say
        transfer.forEach((frame) => frame.close());
        reject(new ClipError({ message: error.message, code: 'argument' }));
      }
    });
  }

  #answer({ id, value, error, progress, restored }) {
    if (progress) return this.#options.onProgress?.(progress);
    if (restored) {
      Object.assign(this, restored.info); // perhaps on the processor now
      return this.#options.onRestored?.(restored.message);
    }
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) call?.reject(new ClipError(error));
    else call?.resolve(value);
  }

  #fail(error) {
    this.#ended ??= error;
    this.#worker?.terminate(); // which gives back all of its memory, the device's too
    this.#worker = null;
    for (const { reject } of this.#calls.values()) reject(new ClipError(error));
    this.#calls.clear();
  }
}

// The address of a model's folder as the page means it: the worker has another.
function absolute(source) {
  const isAddress = typeof source === 'string' && /^(https?:|\/|\.)/.test(source);
  return isAddress ? new URL(source, globalThis.document?.baseURI ?? location.href).href : source;
}

// A picture as it can go to the worker. Frames are moved, not copied.
async function sendable(picture, transfer) {
  if (picture instanceof ImageData) {
    const { data, colorSpace = 'srgb' } = picture;
    if (data instanceof Uint8ClampedArray && colorSpace === 'srgb') return picture;
    throw Object.assign(new Error(`expected ImageData of 8 bits in srgb, found ${data.constructor.name} in ${colorSpace}`), { code: 'argument' });
  }
  if (picture instanceof Blob) return picture;
  let frame = picture;
  if (globalThis.HTMLVideoElement && picture instanceof HTMLVideoElement) {
    frame = globalThis.VideoFrame ? new VideoFrame(picture) : await createImageBitmap(picture);
  } else if (!(globalThis.VideoFrame && picture instanceof VideoFrame)) {
    // A bitmap or canvas stays the caller's: its copy is moved.
    frame = await createImageBitmap(picture, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  } else {
    frame = picture.clone();
  }
  transfer.push(frame);
  return frame;
}
