// The same commit gives the same bytes.
import { execFile } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { projectRoot, readRelease } from "../../packaging/release.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";

const run = promisify(execFile);

/** All that a build reads; .cache is not among it. */
const sources = [
  "agent",
  "docs",
  "examples",
  "host-cli",
  "manager",
  "packaging",
  "scripts",
  "shared",
  "test",
  "node_modules",
];
const files = ["package.json", "package-lock.json", "CHANGELOG.md", "LICENSE", "README.md", "tsconfig.json"];

test("a build elsewhere, by somebody with other habits, makes the same packages and executables", async () => {
  const elsewhere = await createTemporaryDirectory();
  try {
    const copy = join(elsewhere, "a directory");
    await mkdir(copy);
    await run("cp", ["--archive", ...[...sources, ...files].map((name) => join(projectRoot, name)), copy]);
    const { sourceDateEpoch } = await readRelease(process.env);
    const env = {
      PATH: process.env["PATH"],
      TZ: "Asia/Kathmandu",
      LC_ALL: "C",
      SOURCE_DATE_EPOCH: String(sourceDateEpoch),
    };
    const build = "umask 077; exec node packaging/main.ts";
    // One processor: tools that count them must not show it.
    await run("taskset", ["--cpu-list", "0", "sh", "-c", build], { cwd: copy, env, maxBuffer: 2 ** 26 });
    for (const name of ["packages/SHA256SUMS", "executables/agent", "executables/vmmessage"]) {
      const [here, there] = await Promise.all([projectRoot, copy].map((root) => readFile(join(root, "build", name))));
      expect(there?.equals(here ?? Buffer.of()), name).toBe(true);
    }
  } finally {
    await removeTemporaryDirectory(elsewhere);
  }
}, 1_200_000);
