/** Manual pages as mandoc and man-db read them. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { programs } from "../../packaging/manual/programs.ts";
import { writeManuals } from "../../packaging/manual/write-manuals.ts";
import { projectRoot } from "../../packaging/release.ts";

const run = promisify(execFile);
const release = { version: "1.2.3", sourceDateEpoch: 1_795_000_000 };
const pages = [
  "ovm-template-config.8",
  "ovm_vmmessage.1",
  "ovmd.8",
  "vmmessage-agent.8",
  "vmmessage.1",
  "vmmessaged.8",
];

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-manual-"));
  await writeManuals({ outDir: directory, release });
});

afterAll(() => rm(directory, { recursive: true }));

test("there is a page for each name of a program", async () => {
  expect((await readdir(directory)).sort()).toEqual(pages);
});

describe.each(pages)("%s", (page) => {
  const path = (): string => join(directory, page);

  test("gives mandoc no reason to warn", async () => {
    expect(await run("mandoc", ["-T", "lint", "-W", "warning", path()])).toEqual({ stdout: "", stderr: "" });
  });

  test("gives groff no reason to warn, called as lintian calls it", async () => {
    const env = { ...process.env, LC_ALL: "C.UTF-8", MANROFFSEQ: "", MANWIDTH: "80" };
    const args = ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path()];
    expect((await run("man", args, { env })).stderr).toBe("");
  });

  test("is found by its name", async () => {
    const { stdout } = await run("lexgrog", [path()]);
    expect(stdout).toContain(`"${page.slice(0, -2)} - `);
  });

  test("fits a terminal of 80 columns", async () => {
    const lines = (await rendered(path())).split("\n");
    expect(lines.length).toBeGreaterThan(20);
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  });
});

test("agent is another name of vmmessage-agent(8)", async () => {
  expect((await run("lexgrog", [join(directory, "vmmessage-agent.8")])).stdout).toContain('"agent - ');
});

test("what a reader copies is what the help says: hyphens, quotes, tildes, backslashes", async () => {
  const text = await rendered(join(directory, "vmmessage.1"));
  for (const words of ["--value-file", "'web*'", "~/.config/vmmessage/credentials", '{"local": {"token": "..."}']) {
    expect(text).toContain(words);
  }
  for (const { long = "" } of programs.vmmessage().options) expect(text).toContain(long);
});

test("are the same bytes whatever the time zone, language, umask, directory and terminal", async () => {
  const other = join(directory, "other");
  const script =
    `process.umask(0o077); const { writeManuals } = await import("${projectRoot}/packaging/manual/write-manuals.ts");` +
    `await writeManuals({ outDir: ${JSON.stringify(other)}, release: ${JSON.stringify(release)} });`;
  const env = {
    PATH: process.env["PATH"],
    TZ: "Pacific/Kiritimati",
    LC_ALL: "de_DE.UTF-8",
    COLUMNS: "40",
    FORCE_COLOR: "1",
  };
  await run(process.execPath, ["--input-type=module", "--eval", script], { cwd: "/", env });
  for (const page of pages) {
    expect(await readFile(join(other, page), "utf8")).toBe(await readFile(join(directory, page), "utf8"));
  }
  expect((await run("stat", ["--format=%a", ...pages], { cwd: other })).stdout).toBe("644\n".repeat(pages.length));
});

/** As a terminal shows it, without what makes it bold. */
async function rendered(path: string): Promise<string> {
  const env = { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH: "80", MAN_KEEP_FORMATTING: "", GROFF_NO_SGR: "1" };
  const { stdout } = await run("man", ["-l", "-Tutf8", path], { env });
  return stdout.replace(/.\u0008/gu, "").replace(/\u001b\[[0-9;]*m/g, "");
}
