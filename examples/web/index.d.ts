/** What the model is loaded from: 'pico' (in the box), the URL of a model's folder (relative ones from the page on), a name on the Hugging Face Hub
 * ('openai/clip-vit-base-patch32'), or its files as dropped on a page. */
export type Source = string | File[];

/** A picture: a file's bytes are decoded by the engine, so that its pixels are those of every other build; what the browser has
 * drawn already (ImageBitmap, canvas, video) is taken as it is. */
export type Picture = Blob | ImageData | ImageBitmap | HTMLCanvasElement | OffscreenCanvas | HTMLVideoElement | VideoFrame;

export interface Progress {
  /** download: from the network; upload: to the device; compile: its shaders; ready. */
  status: 'download' | 'upload' | 'compile' | 'ready';
  /** The file that is downloaded. */
  file?: string;
  /** Bytes; of compile and ready, 1 in all. */
  loaded: number;
  total: number;
}

export interface LoadOptions {
  /** auto takes a hardware GPU, else the processor. */
  device?: 'auto' | 'webgpu' | 'wasm';
  /** How weights are kept; auto is the smallest form that is exact. */
  dtype?: 'auto' | 'f32' | 'f16' | 'bf16';
  /** What linear layers multiply in. f16 is for speed (cosine to f32 about 0.99999) and takes WebGPU with shader-f16: elsewhere
   * loading is refused. Default f32. */
  compute?: 'f32' | 'f16';
  /** The most pictures or texts that run at once. Default 8. */
  batch?: number;
  /** Whether downloads are kept in the browser (its private file system), where the next visit takes them without asking the server;
   * 'refresh' asks it, and downloads what has changed. Default true. */
  cache?: boolean | 'refresh';
  /** Where Hub names are looked up. Default https://huggingface.co */
  hub?: string;
  revision?: string;
  onProgress?: (progress: Progress) => void;
  /** Told when the device was lost and the model has been loaded again. */
  onRestored?: (message: string) => void;
  /** Ends loading; a model that is loaded stays. */
  signal?: AbortSignal;
}

export interface Labelled {
  label: string;
  score: number;
}

export interface ClassifyOptions {
  /** Default: what the model was trained for. */
  score?: 'softmax' | 'sigmoid' | 'cosine';
  /** Labels below it are left out; an empty answer means none of them. */
  threshold?: number;
  top?: number;
  /** Labels in the order in which they were set, not best first. */
  unsorted?: boolean;
}

/** Errors that say what can be done about them. */
export class ClipError extends Error {
  code: 'device-lost' | 'device' | 'too-large' | 'picture' | 'argument' | 'model' | 'read' | 'aborted' | 'internal';
}

export class Clip {
  private constructor();
  /** Loads a model in a worker of its own: the page never waits. */
  static load(source?: Source, options?: LoadOptions): Promise<Clip>;
  /** Takes what was downloaded of a model out of the browser's store; `hub` and `revision` as they were when it was loaded. */
  static forget(source: string, options?: Pick<LoadOptions, 'hub' | 'revision'>): Promise<void>;
  /** 'webgpu', or 'wasm' where there is no usable adapter. */
  readonly device: 'webgpu' | 'wasm';
  /** What the browser calls the adapter. */
  readonly adapter: string;
  /** Side of the square that the model sees, in pixels. */
  readonly size: number;
  /** Width of an embedding. */
  readonly width: number;
  /** Bytes of the weights on the device. */
  readonly weightBytes: number;
  /** The score that the model was trained for. */
  readonly score: 'softmax' | 'sigmoid';

  /** Embeddings of unit length, one per picture. */
  encodeImages(pictures: Picture[]): Promise<Float32Array[]>;
  encodeImages(picture: Picture): Promise<Float32Array>;
  /** Embeddings of unit length, one per text. */
  encodeTexts(texts: string[]): Promise<Float32Array[]>;
  /** Sets the labels; only what is new is encoded. `{}` in a template is where the label goes; without templates it is
   * `a photo of a {}` (`['{}']` takes labels as they are). Gives the number of prompts
   * encoded since the model was loaded. */
  setLabels(labels: string[], options?: { templates?: string[] }): Promise<number>;
  /** Scores of one picture. */
  classify(picture: Picture, options?: ClassifyOptions): Promise<Labelled[]>;
  /** Scores of several. */
  classify(pictures: Picture[], options?: ClassifyOptions): Promise<Labelled[][]>;
  /** Embeddings of preprocessed pictures, `[n, 3, size, size]`. */
  encodePixels(pixels: Float32Array): Promise<Float32Array[]>;
  /** Embeddings of token ids, `[n, width]`. */
  encodeIds(ids: Uint32Array, width: number): Promise<Float32Array[]>;
  /** What the model reads of pictures, `[n, 3, size, size]`. */
  pixels(pictures: Picture[]): Promise<Float32Array>;
  /** Bytes of the module's memory, which never shrinks: the most that it took. */
  memory(): Promise<number>;
  /** Frees the device's memory and ends the worker. */
  dispose(): void;
  [Symbol.dispose](): void;
}
