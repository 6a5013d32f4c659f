// The stand-alone executables, each as somebody gets it who was sent nothing else.
import { spawn } from "node:child_process";
import { chmod, copyFile, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { projectRoot, readRelease } from "../../packaging/release.ts";
import { run, type RunOptions } from "./run.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";

const { version } = await readRelease({});
const executables = join(projectRoot, "build", "executables");
const commands = ["agent", "vmmessage", "vmmessaged"];

/** A busy machine takes its time to start a program. */
const SOON = { timeout: 60_000, interval: 100 };

/** Prints the name of a terminal, and then all that is written to it. */
const terminal = `
import os, pty, sys, tty
ours, theirs = pty.openpty()
tty.setraw(theirs)
print(os.ttyname(theirs), flush=True)
while True: sys.stdout.write(os.read(ours, 4096).decode()); sys.stdout.flush()
`;

/** As for Oracle VM; its directory is the test's. */
const oracleModule = (directory: string): string => `#!/usr/bin/python3
### BEGIN PLUGIN INFO
# name: greet
# configure: 80
### END PLUGIN INFO
import json
from templateconfig.cli import main

def do_configure(param):
    with open('${directory}/greeting', 'w') as greeting:
        greeting.write(json.loads(param)['greeting'])
    return param

main(lambda target: json.dumps([{'key': 'greeting'}]), {'configure': do_configure})
`;

let directory: string;
/** Where the programs find room for temporary files; what they leave there is seen. */
let temporary: string;

beforeAll(async () => {
  directory = await createTemporaryDirectory();
  temporary = join(directory, "tmp");
  await mkdir(temporary);
  for (const name of commands) await copyFile(join(executables, name), join(directory, name));
});
afterAll(() => removeTemporaryDirectory(directory));

function command(name: string, args: string[], options: RunOptions = {}): ReturnType<typeof run> {
  return run(join(directory, name), args, { ...options, env: { TMPDIR: temporary, ...options.env } });
}

describe("each executable", () => {
  test.each(commands)("%s runs as a single file, with nothing in its environment", async (name) => {
    expect(await command(name, ["--version"])).toEqual({ exitCode: 0, stdout: `${name} ${version}\n`, stderr: "" });
  });

  test.each(commands)("%s starts from the code that was compiled when it was built", async (name) => {
    const { stderr } = await command(name, ["--version"], { env: { NODE_DEBUG: "vmmessage" } });
    expect(stderr).toBe("");
  });

  test.each(commands)("%s does not hear what the environment wants of Nodes", async (name) => {
    const env = { NODE_OPTIONS: "--require=/nonexistent.js" };
    expect(await command(name, ["--version"], { env })).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test("knows its texts in Unicode, and formats dates and numbers, with the locale data of English only", async () => {
    const { stdout } = await command("vmmessage", ["--help"], { env: { LANG: "de_DE.UTF-8", LC_ALL: "ja_JP.UTF-8" } });
    expect(stdout).toContain("Usage: vmmessage");
  });
});

describe("the host's executable", () => {
  test("is the manager under the manager's name, whatever directory the name is in", async () => {
    const names = join(directory, "names");
    await mkdir(names);
    await symlink("../vmmessage", join(names, "vmmessaged"));
    expect((await command("names/vmmessaged", ["--version"])).stdout).toBe(`vmmessaged ${version}\n`);
  });

  test("is the command under any other name", async () => {
    await symlink("vmmessage", join(directory, "ovm_vmmessage"));
    expect((await command("ovm_vmmessage", ["--version"])).stdout).toBe(`vmmessage ${version}\n`);
  });

  test("serves as the manager with its store, and leaves no file behind but its state", async () => {
    const places = ["--state-dir", join(directory, "manager"), "--run-dir", join(directory, "run")];
    const manager = spawn(join(directory, "vmmessaged"), places, {
      env: { TMPDIR: temporary, PATH: "" },
      stdio: "ignore",
    });
    const ended = new Promise((resolve) => manager.once("exit", resolve));
    try {
      const socket = join(directory, "run", "manager.sock");
      await vi.waitFor(async () => {
        expect(await command("vmmessage", ["vms", "--manager", socket, "--json"])).toMatchObject({ exitCode: 0 });
      }, SOON);
      expect(await readdir(temporary)).toEqual([expect.stringMatching(/^vmmessage-/)]);
      expect(await readdir(join(directory, "manager"))).toContain("store.db");
    } finally {
      manager.kill("SIGTERM");
      await ended;
    }
    expect(await readdir(temporary)).toEqual([]);
  });
});

describe("an executable that lies where others than root may write", () => {
  test("takes nothing that somebody has put beside it", async () => {
    const bin = join(directory, "bld");
    await mkdir(bin);
    await copyFile(join(directory, "vmmessage"), join(bin, "vmmessaged"));
    const home = join(directory, "lib", "vmmessage");
    await mkdir(home, { recursive: true });
    await writeFile(join(home, "vmmessaged-store.js"), `require("fs").writeFileSync("${directory}/taken", "")`);
    const places = ["--state-dir", join(directory, "other"), "--run-dir", join(directory, "other-run")];
    const manager = spawn(join(bin, "vmmessaged"), places, { env: { TMPDIR: temporary, PATH: "" }, stdio: "ignore" });
    const ended = new Promise((resolve) => manager.once("exit", resolve));
    try {
      await vi.waitFor(async () => {
        expect(await readdir(join(directory, "other-run"))).toContain("manager.sock");
      }, SOON);
    } finally {
      manager.kill("SIGTERM");
      await ended;
    }
    expect(await readdir(directory)).not.toContain("taken");
  });

  test("says so in one line when there is no room for what it has to unpack", async () => {
    const failed = await command("vmmessaged", ["--version"], { env: { TMPDIR: "/nonexistent" } });
    const message = "vmmessaged: no temporary directory can be made in /nonexistent (TMPDIR)\n";
    expect(failed).toEqual({ exitCode: 2, stdout: "", stderr: message });
  });
});

describe("the agent's executable", () => {
  test("has the addon for terminals in it, and leaves no file of it behind", async () => {
    const side = spawn("/usr/bin/python3", ["-c", terminal], { stdio: ["ignore", "pipe", "inherit"] });
    let written = "";
    side.stdout.setEncoding("utf8").on("data", (text: string) => (written += text));
    const path = await vi.waitUntil(() => /^(\/dev\/.+)\n/.exec(written)?.[1], SOON);
    const places = ["--state-dir", join(directory, "agent-state"), "--run-dir", join(directory, "agent-run")];
    const agent = spawn(join(directory, "agent"), ["run", "--channel", `tty:${path}`, ...places], {
      env: { TMPDIR: temporary },
      stdio: "ignore",
    });
    const ended = new Promise((resolve) => agent.once("exit", resolve));
    try {
      await vi.waitFor(() => {
        expect(written).toContain('"method":"ready"');
      }, SOON);
      expect(await readdir(temporary)).toEqual([]);
    } finally {
      agent.kill("SIGTERM");
      side.kill("SIGTERM");
      await ended;
    }
  });

  test("has the Python package of Oracle VM's modules in it", async () => {
    const modules = join(directory, "modules");
    await mkdir(modules, { mode: 0o755 });
    await writeFile(join(modules, "greet"), oracleModule(directory));
    await chmod(join(modules, "greet"), 0o755);
    const config = join(directory, "bootstrap.json");
    await writeFile(config, JSON.stringify({ directories: [modules] }));
    const places = ["--config", config, "--state-dir", join(directory, "state"), "--run-dir", join(directory, "run")];
    const words = ["config", "configure", "--module", "greet", "--stdin", ...places];
    const configured = await command("agent", words, {
      input: '{"greeting":"hello"}\n',
      env: { PATH: "/usr/bin:/bin" },
    });
    expect(configured).toMatchObject({ exitCode: 0 });
    expect(await readdir(directory)).toContain("greeting");
    expect(await readdir(temporary)).toEqual([]);
  });
});
