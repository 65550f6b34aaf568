// Writes a picture of each dashboard, drawn by Grafana's components in Chromium.
//
//   node draw.mjs http://127.0.0.1:9090 FOLDER [--from S] [--to S] [--scrape 15] [--theme dark] [--instance .+] [--only overview,tasks]

import { readFile, writeFile, readdir } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import puppeteer from "puppeteer-core";
import sharp from "sharp";

const HERE = dirname(fileURLToPath(import.meta.url));
const DASHBOARDS = join(HERE, "..", "grafana");
const TYPES = { ".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
const PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css"><body><script type="module" src="/page.js"></script>';

const now = Math.floor(Date.now() / 1000);
const { values, positionals: [prometheus, folder] } = parseArgs({
  allowPositionals: true,
  options: {
    from: { type: "string", default: String(now - 1800) },
    to: { type: "string", default: String(now) },
    scrape: { type: "string", default: "15" },
    theme: { type: "string", default: "dark" },
    width: { type: "string", default: "1600" },
    instance: { type: "string", default: ".+" },
    only: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
if (!folder) {
  console.error("usage: node draw.mjs PROMETHEUS FOLDER [--from S] [--to S] [--scrape S] [--theme dark|light] [--instance REGEX] [--only NAMES]");
  process.exit(2);
}

const { outputFiles } = await build({
  entryPoints: [join(HERE, "page.jsx")], bundle: true, write: false, outdir: "/", format: "esm", jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' }, loader: { ".ttf": "empty" },
  logLevel: "error",
});
const bundle = new Map(outputFiles.map(({ path, contents }) => [path, contents]));

// Where Grafana's components look for their icons and fonts, and where these are.
const FILES = [
  [/^\/public\/build\/(img\/icons\/\w+\/[\w-]+\.svg)$/, (name) => join(HERE, "node_modules/@grafana/ui/dist/public", name)],
  [/^\/public\/fonts\/inter\/Inter-(Regular|Medium)\.woff2$/, (weight) =>
    join(HERE, `node_modules/@fontsource/inter/files/inter-latin-${weight === "Medium" ? 500 : 400}-normal.woff2`)],
  [/^\/dashboards\/(\w+\.json)$/, (name) => join(DASHBOARDS, name)],
];

async function content(path) {
  if (path === "/") {
    return PAGE;
  }
  const [pattern, file] = FILES.find(([pattern]) => pattern.test(path)) ?? [];
  return bundle.get(path) ?? readFile(file(path.match(pattern)[1]));
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  try {
    const body = await content(pathname);
    response.writeHead(200, { "Content-Type": TYPES[extname(pathname)] ?? "text/html" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const browser = await puppeteer.launch({ executablePath: values.chromium, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const all = (await readdir(DASHBOARDS)).map((file) => file.replace(".json", ""));
  for (const name of values.only?.split(",") ?? all) {
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(`${name}: ${error.stack}`));
    page.on("response", (response) => response.ok() || console.error(`${name}: ${response.status()} ${response.url()}`));
    await page.setViewport({ width: +values.width, height: 1000 });
    const { from, to, scrape, theme, instance } = values;
    const search = new URLSearchParams({ dashboard: name, prometheus, from, to, scrape, theme, instance });
    await page.goto(`http://127.0.0.1:${server.address().port}/?${search}`);
    await page.waitForSelector("[data-height], [data-error]", { timeout: 60_000 });
    const { height, error } = await page.$eval("body", ({ dataset }) => ({ ...dataset }));
    if (error) {
      throw new Error(`${name}: ${error}`);
    }
    await page.setViewport({ width: +values.width, height: Math.ceil(+height) });
    await page.waitForNetworkIdle({ idleTime: 1000 });
    const picture = sharp(await page.screenshot()).png({ palette: true, quality: 60, dither: 0, effort: 10 });
    const path = join(folder, `dashboard-${name}.png`);
    await writeFile(path, await picture.toBuffer());
    console.log(path);
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
