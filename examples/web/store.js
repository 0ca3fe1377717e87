// A model's files, wherever they are: objects with a name, a size and `read(start, end)`. What is downloaded is kept in the
// browser's private file system (OPFS): a break goes on where it was, a second visit asks for nothing.

const ALL = [
  'config.json', 'open_clip_config.json', 'preprocessor_config.json', 'processor_config.json', 'tokenizer.json', 'tokenizer_config.json',
  'vocab.json', 'merges.txt', 'model.safetensors', 'model.safetensors.index.json', 'open_clip_model.safetensors',
  'open_clip_pytorch_model.bin', 'pytorch_model.bin',
];

const HUB = 'https://huggingface.co';

const fail = (message, code = 'read') => Object.assign(new Error(message), { code });

/** The files of a source; `wanted` picks from names those that a model needs. */
export async function filesOf(source, options, wanted, told) {
  if (typeof source !== 'string') return source.map((file) => ofBlob(file.name, file));
  const store = options.cache === false ? null : await openStore(source, options);
  if (!store) return download(source, options, wanted, told, null);
  // One at a time, of all tabs: the next finds what the one before has kept.
  return (navigator.locks ?? { request: (_, f) => f() }).request(`clip-wgpu/${store.folder.name}`, async () => {
    const kept = options.cache === 'refresh' ? null : await store.manifest();
    return kept ? Promise.all(kept.map(({ name }) => store.file(name))) : download(source, options, wanted, told, store);
  });
}

async function download(source, options, wanted, told, store) {
  const { base, heads: known, unreachable } = await listed(source, options);
  const chosen = wanted([...known.keys()]);
  if (!chosen.length) throw unreachable ?? fail(`${source}: expected a model's folder (config.json with model.safetensors, or open_clip's), found none`, 'model');
  const heads = await Promise.all(chosen.map(async (name) => ({ name, ...(known.get(name) ?? (await headOf(base + name))) })));
  const total = heads.reduce((sum, { size }) => sum + (size ?? 0), 0);
  let loaded = 0;
  const files = [];
  for (const head of heads) {
    const more = (bytes) => told({ file: head.name, loaded: (loaded += bytes), total });
    const kept = head.size === null ? null : await store?.download(base, head, more);
    files.push(kept ?? (head.ranges ? ofUrl(base, head) : await whole(base, head, more))); // without a store, or without room in it
  }
  if (!heads.some(({ homeless, size }) => homeless || size === null)) await store?.finish(heads);
  return files;
}

/** Takes the files of a source out of the store. */
export async function remove(source, options) {
  const all = await (await navigator.storage.getDirectory()).getDirectoryHandle('clip-wgpu', { create: true });
  await all.removeEntry(await nameOf(source, options), { recursive: true }).catch((error) => {
    if (error.name !== 'NotFoundError') throw error;
  });
}

/** Of a model whose files are none's: the next visit looks at the server's. */
export async function forget(source, options) {
  if (typeof source !== 'string' || options.cache === false) return;
  await (await openStore(source, options))?.folder.removeEntry('manifest.json').catch(() => {});
}

/** Where the files are, and which there are: their sizes and ETags where they had to be asked for. */
async function listed(source, { hub = HUB, revision = 'main' }) {
  if (/^https?:/.test(source)) {
    const base = source.endsWith('/') ? source : `${source}/`;
    let unreachable; // as another site's file that is not there seems to be, where its server lets us read only those that are
    const head = (name) => headOf(base + name, { optional: true }).catch((error) => {
      if (!error.unreachable || new URL(base).origin === location.origin) throw error;
      unreachable = error;
    });
    const heads = await Promise.all(ALL.map(async (name) => [name, await head(name)]));
    return { base, heads: new Map(heads.filter(([, head]) => head)), unreachable };
  }
  const repo = source.replace(/^hf-hub:/, '');
  const answer = await get(`${hub}/api/models/${repo}/revision/${revision}`);
  if (!answer.ok) throw fail(`${repo}: the Hub answered ${answer.status}${answer.status === 401 || answer.status === 404 ? ' (no such public model)' : ''}`, 'model');
  const { siblings } = await answer.json();
  return { base: `${hub}/${repo}/resolve/${revision}/`, heads: new Map(siblings.map((s) => [s.rfilename, null])) };
}

/** `fetch`, whose own message names neither the address nor a way out. */
async function get(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    const { host } = new URL(url, location.href);
    throw Object.assign(fail(`${host} cannot be reached: ${error.message}; look at the connection and the name`), { unreachable: true });
  }
}

/** A file's size and ETag, by asking for its first byte: HEAD gives the compressed size, and is not always allowed. Null for an
 * `optional` one that is not there: some servers answer every name with a page, and others must not be taken for missing. */
async function headOf(url, { optional } = {}) {
  const answer = await get(url, { headers: { Range: 'bytes=0-0' } });
  await answer.body?.cancel();
  const isPage = answer.ok && answer.headers.get('content-type')?.startsWith('text/html');
  if (optional && (isPage || [403, 404, 410, 416].includes(answer.status))) return null;
  if (!answer.ok) throw fail(`${url}: the server answered ${answer.status}`);
  const range = answer.headers.get('content-range');
  // The length of what is compressed on its way is that of the compressed bytes.
  const length = answer.headers.get('content-encoding') ? null : answer.headers.get('content-length');
  const size = answer.status === 206 ? Number(range?.split('/')[1]) : length && Number(length);
  if (size !== null && !Number.isFinite(size)) throw fail(`${url}: the server does not say how big it is`);
  return { size, etag: answer.headers.get('etag'), ranges: answer.status === 206 };
}

/** Small files by their URLs, fetched whole: the browser's own cache keeps them. */
export function fetched(urls) {
  return Promise.all(Object.entries(urls).map(async ([name, url]) => {
    const answer = await get(url);
    if (!answer.ok) throw fail(`${url}: the server answered ${answer.status}`);
    return ofBlob(name, await answer.blob());
  }));
}

const ofBlob = (name, blob) => ({ name, size: blob.size, read: (start, end) => blob.slice(start, end).arrayBuffer() });

/** Without a store: ranges of the network. */
function ofUrl(base, { name, size, ranges }) {
  const url = base + name;
  const read = async (start, end) => {
    const answer = await get(url, ranges ? { headers: { Range: `bytes=${start}-${end - 1}` } } : {});
    if (!answer.ok) throw fail(`the server answered ${answer.status}`);
    const bytes = await answer.arrayBuffer();
    return answer.status === 206 ? bytes : bytes.slice(start, end);
  };
  return { name, size, read };
}

/** Of a server that gives no parts: all of it, once. */
async function whole(base, { name, size }, more) {
  const answer = await get(base + name);
  if (!answer.ok) throw fail(`${base + name}: the server answered ${answer.status}`);
  const blob = await answer.blob();
  if (size !== null && blob.size !== size) throw fail(`${base + name}: expected ${size} bytes, found ${blob.size}`);
  more(blob.size);
  return ofBlob(name, blob);
}

/** What the store calls a source. */
async function nameOf(source, { hub = HUB, revision = 'main' } = {}) {
  const whole = /^https?:/.test(source) ? source : `${hub}/${source}@${revision}`;
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(whole));
  return Array.from(new Uint8Array(digest.slice(0, 12)), (b) => b.toString(16).padStart(2, '0')).join('');
}

/** The store of a source, or null where the browser has none (private windows). */
async function openStore(source, options) {
  try {
    const name = await nameOf(source, options);
    const all = await (await navigator.storage.getDirectory()).getDirectoryHandle('clip-wgpu', { create: true });
    const folder = await all.getDirectoryHandle(name, { create: true });
    if (!('createSyncAccessHandle' in FileSystemFileHandle.prototype)) return null;
    return new Store(folder);
  } catch {
    return null;
  }
}

/** What a reader gives; whoever stops listening stops the download. */
async function* chunks(reader) {
  try {
    for (let next; !(next = await reader.read()).done; ) yield next.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

class Store {
  constructor(folder) {
    this.folder = folder;
  }

  /** The files of a model that is whole, or null. */
  async manifest() {
    try {
      const { files } = JSON.parse(await (await (await this.folder.getFileHandle('manifest.json')).getFile()).text());
      for (const { name, size } of files) if ((await this.file(name)).size !== size) return null;
      return files;
    } catch {
      return null;
    }
  }

  async file(name) {
    return ofBlob(name, await (await this.folder.getFileHandle(name)).getFile());
  }

  async finish(files) {
    await this.#write('manifest.json', new TextEncoder().encode(JSON.stringify({ files })));
  }

  /** The file, downloaded from where an earlier download of the same ETag broke off; null where there is no room for it. */
  async download(base, head, more) {
    const { name, size, etag, ranges } = head;
    const before = await this.#text(`${name}.etag`);
    const held = etag && before === etag && (await this.file(name).catch(() => null));
    if (held && held.size === size) {
      more(size); // not opened: another page may be reading it
      return held;
    }
    const handle = await this.#open(name);
    try {
      let have = before === etag && etag && ranges ? Math.min(handle.getSize(), size) : 0;
      handle.truncate(have);
      const { quota = Infinity, usage = 0 } = (await navigator.storage.estimate?.()) ?? {};
      if (ranges && size - have > quota - usage) {
        head.homeless = true;
        return null;
      }
      if (before !== (etag ?? '')) await this.#write(`${name}.etag`, new TextEncoder().encode(etag ?? ''));
      more(have);
      for (let tries = 0; have < size; ) {
        try {
          const answer = await get(base + name, have ? { headers: { Range: `bytes=${have}-` } } : {});
          if (!answer.ok) throw fail(`${base + name}: the server answered ${answer.status}`);
          if (have && answer.status !== 206) handle.truncate((have = 0));
          for await (const value of chunks(answer.body.getReader())) {
            handle.write(value, { at: have });
            have += value.length;
            more(value.length);
            tries = 0;
          }
          if (have < size) throw fail(`${base + name}: the connection broke off`);
        } catch (error) {
          if (error.name === 'QuotaExceededError') {
            if (!ranges) throw fail(`${name}: the browser has no room for ${size} bytes, and its server gives no parts of it`, 'too-large');
            handle.truncate(0);
            more(-have);
            head.homeless = true;
            return null;
          }
          if (++tries > 4 || !ranges) throw error.code ? error : fail(`${base + name}: ${error.message}`);
          await new Promise((resolve) => setTimeout(resolve, 500 * tries));
        }
      }
      if (have > size) throw fail(`${base + name}: expected ${size} bytes, found ${have}`);
      handle.flush();
    } finally {
      handle.close();
    }
    return this.file(name);
  }

  // A reload may still hold the file for a moment.
  async #open(name) {
    const file = await this.folder.getFileHandle(name, { create: true });
    for (let tries = 0; ; tries++) {
      try {
        return await file.createSyncAccessHandle();
      } catch (error) {
        if (error.name !== 'NoModificationAllowedError') throw error;
        if (tries >= 10) throw fail(`${name}: is being downloaded in another tab`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  async #write(name, bytes) {
    const handle = await this.#open(name);
    handle.truncate(0);
    handle.write(bytes, { at: 0 });
    handle.flush();
    handle.close();
  }

  async #text(name) {
    try {
      return await (await (await this.folder.getFileHandle(name)).getFile()).text();
    } catch {
      return null;
    }
  }
}
