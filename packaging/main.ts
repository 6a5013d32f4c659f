// `npm run package`: builds the executables and packages below build/, and lists them.
import { stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { buildAll } from "./build-all.ts";
import { projectRoot, readRelease } from "./release.ts";

const startedAt = performance.now();

function log(line: string): void {
  console.error(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${line}`);
}

const packages = await buildAll({ outDir: join(projectRoot, "build"), release: await readRelease(process.env), log });
for (const path of packages) {
  const { size } = await stat(path);
  console.log(`${(size / 1_000_000).toFixed(1).padStart(6)} MB  ${relative(projectRoot, path)}`);
}
