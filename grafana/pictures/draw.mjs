// Draws each dashboard, on answers of Prometheus, in a headless Chromium: node draw.mjs DASHBOARDS ANSWERS PICTURES
import { readdir, readFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
const [dashboards, answers, pictures] = process.argv.slice(2);

const { outputFiles } = await build({
  entryPoints: ['page.jsx'], bundle: true, write: false, outdir: 'out', format: 'iife', jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' }, loader: { '.svg': 'dataurl', '.ttf': 'empty' }, logLevel: 'error',
});
const [script, style] = ['.js', '.css'].map((end) => outputFiles.find(({ path }) => path.endsWith(end)).text);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', ...QUIET],
});
for (const file of await readdir(answers)) {
  const [dashboard, answer] = await Promise.all(
    [dashboards, answers].map(async (directory) => JSON.parse(await readFile(`${directory}/${file}`, 'utf8'))));
  const page = await browser.newPage({ viewport: { width: 1600, height: 2600 } }); // tables draw only what is in view
  page.on('pageerror', (error) => { throw error; });
  const body = '<!doctype html><meta charset="utf-8"><div id="root" style="width: 1600px"></div>';
  await page.route('**', (route) => route.fulfill({ contentType: 'text/html', body })); // no network, but an origin
  await page.goto('http://localhost/');
  await page.addStyleTag({ content: style });
  await page.addScriptTag({ content: script });
  await page.evaluate(([one, other]) => window.draw(one, other), [dashboard, answer]);
  await page.waitForTimeout(3000); // sizes settle over several frames
  await page.locator('#root').screenshot({ path: `${pictures}/${file.replace('.json', '.png')}` });
  await page.close();
}
await browser.close();
