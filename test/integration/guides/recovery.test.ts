/** The guide to recovery, as it is written, with a real libvirt whose guest is reset. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { linksOf, play } from "./guide.ts";
import { GuideLab, root } from "./lab.ts";

const program = join(root, "examples", "recovery", "reset-vm.sh");

test("a guest that hangs is reset as the guide shows it, and not again and again", { timeout: 240_000 }, async () => {
  await using lab = await GuideLab.open({ hypervisor: "libvirt", replacements: [] });
  await play("recovery.md", lab);
});

test("the guide leads to files that are there", () => {
  expect(linksOf("recovery.md").filter((path) => !existsSync(path))).toEqual([]);
});

describe("the guide's program", () => {
  const ID = "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11";

  /** With a `virsh` that says this of the domain's state, and writes down what else it is asked. */
  async function run(domstate: string): Promise<{ code: number; stderr: string; asked: string }> {
    const directory = await mkdtemp(join(tmpdir(), "reset-vm-"));
    onTestFinished(() => rm(directory, { recursive: true }));
    const asked = join(directory, "asked");
    await writeFile(asked, "");
    const virsh = join(directory, "virsh");
    await writeFile(virsh, `#!/bin/sh\ncase "$3" in domstate) ${domstate};; *) echo "$*" >> '${asked}';; esac\n`);
    await chmod(virsh, 0o755);
    const env = { PATH: [directory, "/usr/bin", "/bin"].join(delimiter), VMMESSAGE_VM_ID: ID };
    const ran = await new Promise<{ code: number; stderr: string }>((resolve) => {
      execFile(program, ["qemu:///system"], { env }, (error, _stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stderr });
      });
    });
    return { ...ran, asked: await readFile(asked, "utf8") };
  }

  test("resets a VM that runs, by its UUID", async () => {
    expect(await run("echo running; echo")).toEqual({
      code: 0,
      stderr: "",
      asked: `--connect qemu:///system reset ${ID}\n`,
    });
  });

  test("leaves one alone that somebody paused", async () => {
    expect(await run("echo paused; echo")).toEqual({
      code: 0,
      stderr: "it is paused: nothing was reset\n",
      asked: "",
    });
  });

  test("fails when libvirt does", async () => {
    const { code, stderr, asked } = await run("echo 'error: failed to connect' >&2; exit 1");
    expect({ code, stderr, asked }).toEqual({ code: 1, stderr: "error: failed to connect\n", asked: "" });
  });
});
