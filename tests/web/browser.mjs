// Chromium on loopback, with WebGPU's software adapter.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';

export const root = path.resolve(import.meta.dirname, '../..');
const { chromium } = createRequire(path.join(root, 'target/web-tools/package.json'))('playwright-core');

export const SWIFTSHADER = ['--use-webgpu-adapter=swiftshader', '--enable-unsafe-webgpu'];
// Frames of a camera can be copied to a texture with these alone.
export const WITH_VIDEO = [...SWIFTSHADER, '--use-vulkan=swiftshader', '--use-angle=swiftshader', '--enable-features=Vulkan'];
export const NO_WEBGPU = ['--disable-features=WebGPU', '--disable-blink-features=WebGPU'];

/** Runs `run` with a new page of a browser with an empty profile. */
export async function browse(flags, run) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'clip-wgpu-web-'));
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    ignoreDefaultArgs: ['--headless'],
    viewport: { width: 1280, height: 800 },
    args: ['--headless=new', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1', ...flags],
  });
  try {
    const page = await context.newPage();
    page.on('console', (m) => m.type() === 'error' && !/404/.test(m.text()) && process.stderr.write(`[console] ${m.text()}\n`));
    page.on('pageerror', (e) => process.stderr.write(`[page] ${e}\n`));
    await run(page, context);
  } finally {
    await context.close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
