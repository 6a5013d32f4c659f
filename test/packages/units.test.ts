// The packaged units as systemd's own tools judge them, without a running systemd (package systemd).
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeEach, describe, expect, test } from "vitest";
import { projectRoot } from "../../packaging/release.ts";

const run = promisify(execFile);
const packaging = join(projectRoot, "packaging");

/** 0 is perfect, 10 no protection at all (systemd-analyze(1), security). */
async function exposureOf(unit: string): Promise<number> {
  const { stdout } = await run("systemd-analyze", [
    ...["--no-pager", "security", "--offline=true"],
    join(packaging, "systemd", unit),
  ]);
  return Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
}

describe("the sandbox", () => {
  test("of the manager is OK in systemd's words, though it is root and runs programs", async () => {
    expect(await exposureOf("vmmessaged.service")).toBeLessThanOrEqual(3);
  });

  test("of the agent is as tight as the checks that it runs allow", async () => {
    expect(await exposureOf("vmmessage-agent.service")).toBeLessThanOrEqual(4.4);
  });
});

describe("an installation", () => {
  let root: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "vmm-root-"));
    await mkdir(join(root, "etc"));
    return () => rm(root, { recursive: true });
  });

  test("has a group for those who may use the manager, and nobody is in it", async () => {
    await applyAll("sysusers", "systemd-sysusers");
    expect(await readFile(join(root, "etc/group"), "utf8")).toMatch(/^vmmessage:\w?:\d+:$/m);
  });

  test("has a run directory that everybody may enter, before any daemon was started", async () => {
    await applyAll("tmpfiles", "systemd-tmpfiles", "--create");
    const { mode, uid } = await stat(join(root, "run/vmmessage"));
    expect({ mode: mode & 0o7777, uid }).toEqual({ mode: 0o755, uid: 0 });
  });

  /** As packages have it done, each of the folder's files by itself. */
  async function applyAll(folder: string, tool: string, ...options: string[]): Promise<void> {
    for (const name of await readdir(join(packaging, folder))) {
      const running = run(tool, [...options, `--root=${root}`, "-"]);
      running.child.stdin?.end(await readFile(join(packaging, folder, name)));
      expect((await running).stderr).not.toMatch(/Unknown|ignoring|Failed/);
    }
  }
});
