/** Completions in an interactive bash with a terminal, by the real programs; script(1) has the terminal. */
import { type ChildProcessWithoutNullStreams, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { bashCompletions, writeCompletions } from "../../packaging/completions/write-completions.ts";
import { projectRoot } from "../../packaging/release.ts";
import { AgentUnderTest } from "../integration/support/agents.ts";
import { ManagerUnderTest } from "../integration/support/managers.ts";

const run = promisify(execFile);

const TAB = "\t";
/** readline's insert-completions. */
const ALL = "\u001b*";
const CTRL_A = "\u0001";

let directory: string;
let files: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-completions-"));
  files = join(directory, "files");
  await writeCompletions({ outDir: files });
  await mkdir(join(directory, "bin"));
  for (const [name, bundle] of [
    ["vmmessage-agent", "agent.js"],
    ["vmmessage", "vmmessage.js"],
  ] as const) {
    const script = `#!/bin/sh\nexec '${process.execPath}' '${join(projectRoot, "dist", bundle)}' "$@"\n`;
    await writeFile(join(directory, "bin", name), script, { mode: 0o755 });
  }
});

afterAll(() => rm(directory, { recursive: true }));

/** An interactive shell that has read a completion, in an empty directory of its own. */
class Shell implements AsyncDisposable {
  readonly home: string;
  readonly #script: ChildProcessWithoutNullStreams;
  #shown = "";

  private constructor(home: string, command: string) {
    this.home = home;
    const path = `${join(directory, "bin")}:${process.env["PATH"] ?? ""}`;
    const env = { PATH: path, HOME: home, TERM: "dumb", LC_ALL: "C.UTF-8" };
    this.#script = spawn("script", ["-qefc", command, "/dev/null"], { cwd: home, env });
    this.#script.stdout.on("data", (piece: Buffer) => {
      this.#shown += piece.toString();
    });
  }

  static async start(setUp: string): Promise<Shell> {
    const base = await mkdtemp(join(directory, "shell-"));
    const home = join(base, "home");
    await mkdir(home);
    const settings = ["enable-bracketed-paste off", "completion-query-items 0"].map((one) => `bind 'set ${one}'`);
    const show = `show() { printf '%s\\0' "$@" > ../words.part; mv ../words.part ../words; }`;
    await writeFile(join(base, "rc"), [...settings, "unset HISTFILE", show, setUp, "PS1='ready> '"].join("\n"));
    const shell = new Shell(home, `bash --noprofile --rcfile '${join(base, "rc")}' -i`);
    await vi.waitUntil(() => shell.#shown.endsWith("ready> "), { timeout: 30_000 });
    return shell;
  }

  /** The words that the shell has when these keys were typed and the line is run: as those of `show`, put before it. */
  async wordsAfter(keys: string): Promise<string[]> {
    const file = join(this.home, "..", "words");
    await rm(file, { force: true });
    this.#script.stdin.write(`${keys}${CTRL_A}show \r`);
    await vi
      .waitUntil(() => existsSync(file), { timeout: 30_000 })
      .catch(() => {
        throw new Error(`the line did not run: ${this.#shown}`);
      });
    return (await readFile(file, "utf8")).split("\0").slice(0, -1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#script.stdin.end("\u0003\u0004");
    await vi
      .waitUntil(() => this.#script.exitCode !== null, { timeout: 10_000 })
      .catch(() => this.#script.kill("SIGKILL"));
  }
}

const sourcing = (command: string): string => `. '${join(files, command)}'`;

/** How bash-completion finds the file itself, when the command is completed for the first time. */
async function throughBashCompletion(): Promise<string> {
  const user = join(directory, "user");
  await mkdir(join(user, "completions"), { recursive: true });
  for (const [command, text] of await bashCompletions()) await writeFile(join(user, "completions", command), text);
  return `export BASH_COMPLETION_USER_DIR='${user}'\n. /usr/share/bash-completion/bash_completion`;
}

describe.each([
  ["by itself", (): Promise<string> => Promise.resolve(sourcing("agent"))],
  ["loaded by bash-completion", throughBashCompletion],
])("the completion %s", (_how, setUp) => {
  const keys = [
    "$(touch x)",
    "`touch y`",
    "a key",
    "it's",
    'say "hi"',
    "back\\slash",
    "a;touch z",
    "!!",
    "com:example:role",
  ];

  test("gives an agent's keys as one word each, and runs nothing of them", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run(...keys.flatMap((key) => ["-p", `${key}=value`]));
    await using shell = await Shell.start(await setUp());
    const start = ["agent", "--run-dir", agent.runDirectory, "-g"];
    const line = start.join(" ");

    const [, , , , ...all] = await shell.wordsAfter(`${line} ${ALL}`);
    expect(all.sort()).toEqual(keys.toSorted());
    for (const [begun, key] of [
      ["\\$", "$(touch x)"],
      ["\\`", "`touch y`"],
      ["a\\ ", "a key"],
      ["it", "it's"],
      ["sa", 'say "hi"'],
      ["back", "back\\slash"],
      ["com:ex", "com:example:role"],
      ["'com:ex", "com:example:role"],
    ] as const) {
      expect(await shell.wordsAfter(`${line} ${begun}${TAB}`)).toEqual([...start, key]);
    }
    // Within quotes insert-completions would take the quote away from them, and they would be run.
    expect(await shell.wordsAfter(`${line} '$(${ALL}'`)).toEqual([...start, "$("]);
    expect(await readdir(shell.home)).toEqual([]);
  });

  test("gives options, commands and names of files", async () => {
    await using shell = await Shell.start(await setUp());
    expect(await shell.wordsAfter(`agent --if-a${TAB}`)).toEqual(["agent", "--if-absent"]);
    expect(await shell.wordsAfter(`agent check ${ALL}`)).toEqual(["agent", "check", "add", "list", "remove"]);
    await writeFile(join(shell.home, "a file"), "");
    expect(await shell.wordsAfter(`agent --file a${TAB}`)).toEqual(["agent", "--file", "a file"]);
    expect(await shell.wordsAfter(`agent --value-file cert=a${TAB}`)).toEqual(["agent", "--value-file", "cert=a file"]);
    expect(await shell.wordsAfter(`agent config enable hostn${TAB}conf${TAB}`)).toEqual([
      "agent",
      "config",
      "enable",
      "hostname",
      "configure",
    ]);
  });
});

test("names of VMs come from the manager", async () => {
  const names = ["web1", "web 2", "$(touch x)"];
  await using manager = await ManagerUnderTest.start(
    names.map((name, index) => ({ name, socket: join(directory, `vm${index}.sock`) })),
  );
  await using shell = await Shell.start(sourcing("vmmessage"));
  const line = `vmmessage --manager ${manager.socketPath} -v`;
  const [, , , , ...all] = await shell.wordsAfter(`${line} ${ALL}`);
  expect(all.sort()).toEqual(names.toSorted());
  expect(await shell.wordsAfter(`${line} \\$${TAB}`)).toEqual([...line.split(" "), "$(touch x)"]);
  expect(await readdir(shell.home)).toEqual([]);
});

test("are clean to shellcheck", async () => {
  const paths = [...(await bashCompletions()).keys()].map((command) => join(files, command));
  expect(paths.length).toBe(7);
  for (const path of paths) await run("bash", ["-n", path]);
  expect(await run("shellcheck", paths)).toEqual({ stdout: "", stderr: "" });
});
