import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { build, type BuildOptions } from "esbuild";
import { expect, test } from "vitest";
import { temporaryDirectory } from "./stores.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..", "..", "..", "..");

const program = `
  import { openStore } from "./manager/store/open-store.ts";
  const log = { info() {}, warn() {}, error() {} };
  openStore({ directory: process.argv[2], log, onFailure: console.error }).then(async (store) => {
    console.log(JSON.stringify(await store.countsByState()));
    await store.close();
  });
`;

test("bundled as it is shipped, the store finds its thread beside the program", async () => {
  const directory = await temporaryDirectory();
  const shipped: BuildOptions = {
    absWorkingDir: root,
    bundle: true,
    format: "cjs",
    platform: "node",
    define: { "import.meta.dirname": "__dirname", "import.meta.filename": "__filename" },
    logLevel: "error",
  };
  const outfile = (name: string) => join(directory, `${name}.js`);
  await build({ ...shipped, stdin: { contents: program, resolveDir: root }, outfile: outfile("vmmessaged") });
  await build({ ...shipped, entryPoints: ["manager/store/worker.ts"], outfile: outfile("vmmessaged-store") });
  const { stdout } = await run(process.execPath, [outfile("vmmessaged"), join(directory, "state")]);
  expect(JSON.parse(stdout)).toMatchObject({ queued: 0, refused: 0 });
});
