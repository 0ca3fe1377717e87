// What `clip-wgpu index --export` writes, searched by DuckDB as docs/engines.md says: `scripts/test-engines`.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../..');
const { DuckDBInstance } = createRequire(path.join(root, 'target/engine-tools/package.json'))('@duckdb/node-api');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'clip-wgpu-engines-'));
const command = (...args) => execFileSync(path.join(root, 'target/debug/clip-wgpu'), [...args, '-q', '-m', 'pico', '--device', 'cpu'], { cwd: root, encoding: 'utf8' });
const file = (name) => path.join(folder, name);

/** The blocks of SQL in the recipes, where they stand for the files of this test. */
const recipe = fs.readFileSync(path.join(root, 'docs/engines.md'), 'utf8').match(/```sql\n([^]*?)```/)[1]
  .replaceAll("'pictures.parquet'", `'${file('pictures.parquet')}'`).replaceAll("'query.parquet'", `'${file('query.parquet')}'`).replaceAll('512', '128');

try {
  command('index', 'assets/samples', '--db', file('index.sqlite'), '--export', file('pictures.parquet'));
  const connection = await (await DuckDBInstance.create()).connect();
  for (const words of ['a tiger', 'a red circle', 'something purple']) {
    command('embed', 'text', words, '-o', file('query.parquet'));
    const found = (await connection.runAndReadAll(recipe)).getRows();
    const { hits } = JSON.parse(command('search', words, '--json', '--threshold', '-1', '--db', file('index.sqlite')));
    const names = (rows) => JSON.stringify(rows);
    if (found.length !== 9 || names(found.map((r) => r[0])) !== names(hits.map((h) => h.path))) throw new Error(`${words}: DuckDB finds ${names(found)}, the index ${names(hits)}`);
    const farthest = Math.max(...found.map((r, i) => Math.abs(r[1] - hits[i].score)));
    if (!(farthest < 1e-5)) throw new Error(`${words}: scores differ by ${farthest}`);
  }
  console.log('test DuckDB finds what the index finds ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored');
} catch (error) {
  console.log(`test DuckDB finds what the index finds ... FAILED\n${error?.stack ?? error}\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored`);
  process.exitCode = 1;
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
