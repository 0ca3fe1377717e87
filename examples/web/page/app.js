// The page: a camera, a picture or many, scored against labels by the package next door.

import { Clip } from '../index.js';
import { Gallery } from './gallery.js';
import { Labels } from './labels.js';

const $ = (id) => document.getElementById(id);
const NONE = 'something else';
const SAMPLE = new URL('../pkg/sample.jpg', import.meta.url);
const stored = () => {
  try {
    return JSON.parse(localStorage.getItem('clip-wgpu') ?? '{}');
  } catch {
    return {}; // storage may be blocked
  }
};
const kept = { labels: ['teapot', 'green apple', 'guitar', 'tiger', 'red circle'], template: 'a photo of a {}', threshold: 0.2, none: false,
  model: 'pico', device: 'auto', ...stored() };

let clip, loading, stream, still, asking = false, failures = 0;
const times = [];
const labels = new Labels($('labels'), $('leading'), () => relabel());
const gallery = new Gallery($('gallery'), (file) => showStill(file));

const keep = () => {
  try {
    localStorage.setItem('clip-wgpu', JSON.stringify(kept));
  } catch {} // without, the next visit begins anew
};
const say = (text, quiet = false) => {
  $('note').textContent = text;
  $('note').classList.toggle('quiet', quiet);
};
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

// The model.

async function load(source = kept.model) {
  loading?.abort();
  const mine = (loading = new AbortController());
  clip?.dispose();
  clip = null;
  $('loading').hidden = false;
  const began = performance.now();
  const onProgress = ({ status, loaded, total }) => {
    if (status === 'ready') return;
    if (status === 'upload' && !kept.trying) {
      kept.trying = kept.model; // where it ends the tab, the next visit does without it
      keep();
    }
    $('progress').value = total ? loaded / total : 0;
    const seconds = (performance.now() - began) / 1000;
    const rate = loaded / seconds;
    const left = status === 'download' && seconds > 1 ? `, ${megabytes(rate)}/s, ${Math.ceil((total - loaded) / rate)} s left` : '';
    const doing = { download: 'downloading', upload: 'loading' }[status];
    line(doing ? `${doing} ${megabytes(loaded)} of ${megabytes(total)}${left}` : 'compiling');
  };
  try {
    const onRestored = (message) => say(message, true);
    clip = await Clip.load(source, { device: kept.device, onProgress, onRestored, signal: mine.signal });
    $('loading').hidden = true;
    line();
    $('score').value = kept.score ?? clip.score;
    say(usual(), true);
    await relabel();
    if (loading !== mine) return;
    document.body.dataset.state = 'ready';
    encodeGallery();
  } catch (error) {
    if (loading === mine) line(`no model: ${error.message}`);
    if (error.code !== 'aborted') say(error.message);
  } finally {
    if (loading === mine) {
      $('loading').hidden = true;
      delete kept.trying;
      keep();
    }
  }
}

/** What is to be said while nothing else is. */
const usual = () => (clip?.device === 'wasm' && kept.device !== 'wasm' ? 'No usable GPU here (WebGPU): running on the processor.' : '');

let labelling = Promise.resolve();
function relabel() {
  kept.labels = labels.texts;
  keep();
  labelling = labelling.then(async () => {
    if (!clip || !labels.texts.length) return;
    try {
      const all = labels.none ? [...labels.texts, NONE] : labels.texts;
      document.body.dataset.encoded = await clip.setLabels(all, { templates: [kept.template] });
      if (still) await scoreStill();
    } catch (error) {
      if (error.code !== 'aborted') say(error.message);
    }
  });
  return labelling;
}

const scoring = (more = {}) => ({ score: $('score').value, unsorted: true, ...more });
const showing = (more = {}) => ({ cosine: $('score').value === 'cosine', threshold: kept.threshold, ...more });

function line(text) {
  if (text) return void ($('line').textContent = text);
  if (!clip) return;
  const middle = [...times].sort((a, b) => a - b)[times.length >> 1] ?? 0;
  const rate = stream && middle ? `, ${(1000 / middle).toFixed(middle > 100 ? 1 : 0)} per second` : '';
  $('line').textContent = `${kept.model} · ${clip.device === 'wasm' ? 'processor' : clip.adapter} · ${middle.toFixed(middle < 10 ? 1 : 0)} ms per picture${rate} · ${megabytes(clip.weightBytes)}`;
}

async function timed(call) {
  const began = performance.now();
  const answer = await call();
  times.push(performance.now() - began);
  if (times.length > 30) times.shift();
  return answer;
}

// A still picture.

async function showStill(file) {
  stopCamera();
  gallery.hide();
  $('video').hidden = true;
  $('still').hidden = false;
  URL.revokeObjectURL($('still').src);
  $('still').src = URL.createObjectURL(file);
  $('still').alt = file.name ?? 'the picture';
  $('still').onload = square;
  still = file;
  labels.clear(); // what is shown is the last picture's
  scored = null;
  await labelling;
  await scoreStill();
}

let complaint = ''; // of the still picture, until one is scored
let scored = null; // its scores

async function scoreStill() {
  if (!clip || !still) return;
  const mine = still;
  try {
    const row = await timed(() => clip.classify(mine, scoring()));
    if (still !== mine || row.length !== labels.scores.length) return; // another was picked meanwhile, or other labels
    scored = row.map((r) => r.score);
    labels.show(scored, showing({ still: true }));
    line();
    if (complaint) say(usual(), true);
    complaint = '';
  } catch (error) {
    if (error.code !== 'aborted' && still === mine) say((complaint = `${mine.name ?? 'the picture'}: ${error.message}`));
  }
}

/** The frame of what the model sees: the middle square. */
function square() {
  const shown = $('video').hidden ? $('still') : $('video');
  const [width, height] = [shown.videoWidth ?? shown.naturalWidth, shown.videoHeight ?? shown.naturalHeight];
  const { clientWidth, clientHeight } = $('stage');
  const side = Math.min(width, height) * Math.min(clientWidth / width, clientHeight / height);
  Object.assign($('square').style, { width: `${side}px`, height: `${side}px`, left: `${(clientWidth - side) / 2}px`, top: `${(clientHeight - side) / 2}px` });
  $('square').hidden = shown.hidden || !width || width === height;
}

// The camera.

async function startCamera() {
  if (asking) return;
  asking = true;
  try {
    if (!navigator.mediaDevices) return say('No camera: browsers give it to pages on https, and on localhost.');
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: { ideal: 'environment' } } });
  } catch (error) {
    return say(error.name === 'NotAllowedError' ? 'The camera was refused: allow it in the address bar.' : `No camera: ${error.message}`);
  } finally {
    asking = false;
  }
  const mine = stream;
  still = null;
  gallery.hide();
  say('');
  const video = $('video');
  [$('still').hidden, video.hidden] = [true, false];
  video.srcObject = stream;
  stream.getVideoTracks()[0].onended = () => (stopCamera(), say('The camera is gone: plug it in and press Camera.'));
  $('camera').textContent = 'Stop';
  times.length = 0;
  video.onresize = square;
  await video.play().catch(() => {}); // stopped meanwhile
  square();
  while (stream === mine) {
    await new Promise((next) => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next)));
    await labelling;
    if (!clip || stream !== mine || !labels.texts.length) {
      await new Promise((next) => setTimeout(next, 100));
      continue;
    }
    try {
      const row = await timed(() => clip.classify(video, scoring()));
      failures = 0;
      if (stream === mine && row.length === labels.scores.length) labels.show(row.map((r) => r.score), showing());
      line();
    } catch (error) {
      if (error.code === 'aborted') continue; // another model is being loaded
      say(error.message);
      if (++failures > 3) stopCamera();
    }
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $('camera').textContent = 'Camera';
}

// Many pictures.

async function take(files) {
  const pictures = files.filter((f) => f.type.startsWith('image/') || /\.(png|jpe?g|webp|gif|bmp|tiff?|ico)$/i.test(f.name));
  if (files.some((f) => /\.(safetensors|bin|pt)$/i.test(f.name))) {
    kept.model = $('model').value = 'dropped files';
    return load(files);
  }
  if (!pictures.length) return say('No pictures among these.');
  if (pictures.length === 1) {
    $('search').hidden = true;
    return showStill(pictures[0]);
  }
  stopCamera();
  still = null;
  $('video').hidden = $('still').hidden = $('square').hidden = true;
  $('search').hidden = false;
  labels.clear();
  gallery.show(pictures);
  await encodeGallery();
  document.body.dataset.gallery = pictures.length;
}

/** Encodes the pictures that the model has not seen, and orders them by what is asked for. */
async function encodeGallery() {
  if (!clip || $('gallery').hidden) return;
  await gallery.encode(clip, (done, all) => say(done < all ? `${done} of ${all} pictures` : usual(), true), say);
  if ($('query').value.trim()) await search();
}

async function search() {
  try {
    await gallery.search(clip, $('query').value, kept.template);
  } catch (error) {
    if (error.code !== 'aborted') say(error.message);
  }
}

/** All files of a drop, folders walked: `readEntries` gives at most a hundred at a time. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const walk = async (entry) => {
    if (entry.isFile) return [await new Promise((ok, no) => entry.file(ok, no))];
    const reader = entry.createReader(), all = [];
    for (;;) {
      const some = await new Promise((ok, no) => reader.readEntries(ok, no));
      if (!some.length) return all;
      for (const inner of some) all.push(...(await walk(inner)));
    }
  };
  return entries.length ? (await Promise.all(entries.map(walk))).flat() : [...transfer.files];
}

// Wiring.

const ended = kept.trying && kept.trying !== 'pico' && kept.trying;
if (kept.model === 'dropped files' || ended) kept.model = 'pico';
labels.set(kept.labels, kept.none);
for (const id of ['template', 'model', 'device', 'threshold']) $(id).value = kept[id];
$('none').checked = kept.none;
$('threshold-value').textContent = kept.threshold;
$('add').onkeydown = (event) => event.key === 'Enter' && (labels.add($('add').value), ($('add').value = ''));
$('add').onpaste = (event) => {
  const text = event.clipboardData.getData('text');
  if (text.includes('\n')) (event.preventDefault(), labels.add(text));
};
$('sort').onclick = () => {
  labels.sorted = !labels.sorted;
  $('sort').setAttribute('aria-pressed', labels.sorted);
  labels.set(labels.texts, kept.none);
  relabel();
};
$('copy').onclick = () => navigator.clipboard.writeText(JSON.stringify({ model: kept.model, device: clip?.device, score: $('score').value, labels: labels.scores }, null, 1));
$('template').onchange = () => {
  const text = $('template').value.trim();
  if (!text.includes('{}')) return ($('template').value = kept.template), say('A prompt has {} where the label goes.');
  kept.template = text;
  relabel();
};
$('score').onchange = () => (kept.score = $('score').value, keep(), relabel());
$('threshold').oninput = () => ((kept.threshold = Number($('threshold').value)), ($('threshold-value').textContent = kept.threshold), keep(), still && scored && labels.show(scored, showing({ still: true })));
$('none').onchange = () => ((kept.none = $('none').checked), labels.set(labels.texts, kept.none), relabel());
$('camera').onclick = () => (stream ? stopCamera() : startCamera());
$('pick').onclick = () => $('files').click();
$('files').onchange = () => take([...$('files').files]);
$('sample').onclick = async () => {
  $('search').hidden = true;
  await showStill(new File([await (await fetch(SAMPLE)).blob()], 'sample.jpg', { type: 'image/jpeg' }));
};
$('query').oninput = () => {
  still = null;
  $('still').hidden = $('square').hidden = true;
  $('gallery').hidden = false;
  if (clip) (gallery.knows(clip) ? search : encodeGallery)();
};
$('load').onclick = () => {
  [kept.model, kept.device] = [$('model').value.trim() || 'pico', $('device').value];
  keep();
  times.length = 0;
  load();
};
$('cancel').onclick = () => loading?.abort();
const stage = document.body;
stage.ondragover = (event) => (event.preventDefault(), $('stage').classList.add('over'));
stage.ondragleave = () => $('stage').classList.remove('over');
stage.ondrop = async (event) => {
  event.preventDefault();
  $('stage').classList.remove('over');
  take(await dropped(event.dataTransfer));
};
addEventListener('resize', square);
$('runs').querySelector('details').ontoggle = async () => {
  if (!clip) return;
  const rows = { 'wasm memory': megabytes(await clip.memory()), weights: megabytes(clip.weightBytes), 'the model sees': `${clip.size} × ${clip.size} pixels`, device: `${clip.device} (${clip.adapter})` };
  $('times').replaceChildren(...Object.entries(rows).map((cells) => {
    const row = document.createElement('tr');
    for (const text of cells) row.insertCell().textContent = text;
    return row;
  }));
};

await load();
if (ended) say(`${ended} was not loaded to its end the last time: this is pico. To try it again, press Load.`);
if (!stream && !still && !document.body.dataset.gallery) $('sample').click();
// For tests.
globalThis.page = { get clip() { return clip; }, take, labels };
