// Serves the repository on loopback, with ranges and ETags as model hosts have them, and notes what was asked for. A folder under
// `hub` is a model on the Hub: /api/models/OWNER/NAME/revision/main lists it, /OWNER/NAME/resolve/main/FILE is a file.

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm', '.png': 'image/png', '.jpg': 'image/jpeg' };

/** A server of `root`: `asked` are the paths so far; `cut(path)` says after how many bytes a connection
 * breaks, `refused(path)` with which status it is refused; where there are `pages`, a page answers for what is not there; it gives
 * parts of files where it has `ranges`, and says how long they are where it has `lengths`. */
export async function serve(root) {
  const state = { asked: [], cut: () => Infinity, refused: () => null, pages: false, ranges: true, lengths: true, hub: {} };
  const server = http.createServer((request, response) => {
    const name = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    state.asked.push(name);
    const [, repo, wanted] = /^\/(?:api\/models\/)?([^/]+\/[^/]+)\/(?:revision\/main|resolve\/main\/(.*))$/.exec(name) ?? [];
    const folder = state.hub[repo];
    if (folder && !wanted) {
      const siblings = fs.readdirSync(path.join(root, folder)).map((rfilename) => ({ rfilename }));
      return response.end(JSON.stringify({ siblings }));
    }
    const file = path.join(root, folder ? `${folder}/${wanted}` : name);
    let stat;
    try {
      stat = fs.statSync(file);
    } catch {}
    if (state.refused(name)) {
      response.statusCode = state.refused(name);
      response.setHeader('content-type', 'text/html'); // as servers' own pages of errors are
      return response.end('<h1>Busy</h1>');
    }
    if (!stat?.isFile() && state.pages) {
      response.setHeader('content-type', 'text/html');
      return response.end('<!doctype html>');
    }
    if (!stat?.isFile() || !file.startsWith(root + path.sep)) {
      response.statusCode = 404;
      return response.end();
    }
    const range = state.ranges && /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '');
    const [start, end] = range ? [Number(range[1]), range[2] ? Number(range[2]) + 1 : stat.size] : [0, stat.size];
    response.setHeader('content-type', TYPES[path.extname(file)] ?? 'application/octet-stream');
    response.setHeader('cache-control', 'no-store');
    response.setHeader('etag', `"${stat.size}-${stat.mtimeMs}"`);
    if (state.ranges) response.setHeader('accept-ranges', 'bytes');
    if (state.lengths) response.setHeader('content-length', end - start);
    if (range) {
      response.statusCode = 206;
      response.setHeader('content-range', `bytes ${start}-${end - 1}/${stat.size}`);
    }
    const most = state.cut(name, start, end);
    if (most < end - start) {
      fs.createReadStream(file, { start, end: start + most - 1 }).on('end', () => response.destroy()).pipe(response, { end: false });
    } else {
      fs.createReadStream(file, { start, end: end - 1 }).pipe(response);
    }
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  state.url = `http://localhost:${server.address().port}`;
  state.close = () => (server.close(), server.closeAllConnections());
  return state;
}
