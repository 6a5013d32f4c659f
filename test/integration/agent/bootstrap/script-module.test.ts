/** Real scripts, called as modules are, and found in real directories of root's and others'. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { findModules, type FoundModules } from "../../../../agent/bootstrap/find-modules.ts";
import { secretMask } from "../../../../agent/bootstrap/mask-secrets.ts";
import {
  type ModuleError,
  type ModuleResult,
  type Parameter,
  type Values,
} from "../../../../agent/bootstrap/module.ts";
import { readPluginHeader } from "../../../../agent/bootstrap/scripts/plugin-header.ts";
import { ScriptModule } from "../../../../agent/bootstrap/scripts/script-module.ts";
import type { Target } from "../../../../shared/bootstrap.ts";
import { PLAIN_ENVIRONMENT } from "../../../../shared/process-group.ts";
import type { Value } from "../../../../shared/protocol/value.ts";
import { printable } from "../../../../shared/terminal-text.ts";

const pythonDirectory = join(import.meta.dirname, "../../../../packaging/python");
const never = new AbortController().signal;

const NOBODY = 65_534;

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "scripts-"));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const HEADER = ["### BEGIN PLUGIN INFO", "# name: example", "# configure: 50", "### END PLUGIN INFO"];

function scriptAt(path: string, lines: readonly string[], mode = 0o755): string {
  writeFileSync(path, `${lines.join("\n")}\n`);
  chmodSync(path, mode);
  return path;
}

function moduleOf(lines: readonly string[]): ScriptModule {
  const path = scriptAt(join(directory, "example"), lines);
  return new ScriptModule({ path, header: readPluginHeader(path, readFileSync(path, "utf8")), pythonDirectory });
}

function shModule(script: string, ...members: string[]): ScriptModule {
  return moduleOf(["#!/bin/sh", ...HEADER.slice(0, 3), ...members, "### END PLUGIN INFO", script]);
}

function pythonModule(...lines: string[]): ScriptModule {
  return moduleOf(["#!/usr/bin/env python3", ...HEADER, ...lines]);
}

function valuesOf(values: Record<string, Value>): Values {
  return new Map(Object.entries(values).map(([key, value]) => [key, { value, isSecret: false }]));
}

async function run(module: ScriptModule, values: Record<string, Value> = {}, signal = never): Promise<ModuleResult> {
  return module.run({ target: "configure", values: valuesOf(values), signal });
}

async function failureOf(work: Promise<unknown>): Promise<ModuleError> {
  const error = await work.then(() => "it went well").catch((reason: unknown) => reason);
  expect(error).toMatchObject({ name: "ModuleError" });
  return error as ModuleError;
}

async function parametersOf(module: ScriptModule, target: Target = "configure"): Promise<readonly Parameter[]> {
  return module.parameters(target, never);
}

function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

function pidIn(name: string): number {
  const pid = Number(readFileSync(join(directory, name), "utf8"));
  expect(pid).toBeGreaterThan(1);
  return pid;
}

describe("a script", () => {
  test("is a module as its header says", () => {
    const module = shModule("exit 0", "# cleanup: 20", "# timeout: 5", "# description: what it does");
    expect(module).toMatchObject({
      name: "example",
      description: "what it does",
      kind: "script",
      path: join(directory, "example"),
      timeoutMs: 5_000,
    });
    expect([...module.orders]).toEqual([
      ["configure", 50],
      ["cleanup", 20],
    ]);
  });

  test("is called with the target, in the root directory, with nothing of our environment", async () => {
    process.env["SECRET_OF_OURS"] = "x";
    const script = `printf '{"arguments":"%s","directory":"%s","secret":"%s","python":"%s"}' "$*" "$PWD" "$SECRET_OF_OURS" "$PYTHONPATH"`;
    expect(await run(shModule(script))).toEqual({
      results: { arguments: "configure", directory: "/", secret: "", python: pythonDirectory },
    });
  });

  test("reads the values as one JSON object, bytes as base64", async () => {
    const module = pythonModule(
      "import json, sys",
      "print(json.dumps({'given': json.dumps(json.load(sys.stdin), sort_keys=True, ensure_ascii=False)}))",
    );
    const { results } = await run(module, { a: "ä\n\u0000", b: Buffer.from([0xff, 0x00]), __proto__x: "" });
    expect(JSON.parse(results["given"] ?? "")).toEqual({ a: "ä\n\u0000", b: { base64: "/wA=" }, __proto__x: "" });
  });

  test("gives back what is text, and new or changed", async () => {
    const answer = '{"same":"1","changed":"2","new":"3","number":4,"nothing":null,"bytes":{"base64":"AA=="},"list":[]}';
    const { results } = await run(shModule(`echo '${answer}'`), { same: "1", changed: "1", left: "x" });
    expect(results).toEqual({ changed: "2", new: "3" });
  });

  test.each(["exit 0", "echo; echo '  '", "echo {}", "echo configuring >&2"])(
    "that answers nothing went well: %s",
    async (script) => {
      expect(await run(shModule(script), { key: "value" })).toEqual({ results: {} });
    },
  );

  test.each([
    { script: "exit 3", message: "exit code 3", lines: [] },
    { script: "echo first >&2; echo last >&2; exit 1", message: "exit code 1", lines: ["first", "last"] },
    { script: 'echo \'{"new":"1"}\'; exit 1', message: "exit code 1", lines: [] },
    { script: "echo oh >&2; kill -SEGV $$", message: "it was ended by SIGSEGV", lines: ["oh"] },
  ])("that fails says why: $script", async ({ script, message, lines }) => {
    expect(await failureOf(run(shModule(script)))).toMatchObject({ message, lines });
  });

  test("shows its last 20 lines", async () => {
    const { lines } = await failureOf(run(shModule("seq 1 1000 >&2; exit 1")));
    expect(lines).toEqual(Array.from({ length: 20 }, (_, index) => String(981 + index)));
  });

  test.each([
    { answer: "hello", problem: "is not JSON: 'hello'" },
    { answer: "hello\\nworld", problem: "is not JSON: 'hello'..." },
    { answer: "\\033[2J\\007", problem: "is not JSON: '\u001b[2J\u0007'" },
    { answer: "\\377\\376", problem: "is not UTF-8: '\ufffd\ufffd'" },
    { answer: "[]", problem: "is not a JSON object: '[]'" },
    { answer: '"text"', problem: "is not a JSON object: '\"text\"'" },
    { answer: "null x", problem: "is not JSON: 'null x'" },
    { answer: "done {}", problem: "is not JSON: 'done {}'" },
  ])(
    "that prints garbage fails, and says what, all of its first line as it is: $answer",
    async ({ answer, problem }) => {
      const { message } = await failureOf(run(shModule(`printf '${answer}'`)));
      expect(message).toBe(`what it printed on its standard output ${problem}`);
    },
  );

  test.each(['hunter2hunter2"tail', "pass\tword-long", "pässwörd", "it's me\\", `${"long ".repeat(2_000)}end`])(
    "that prints garbage with a secret in it does not give it away: %j",
    async (secret) => {
      const mask = secretMask(new Map([["pw", { value: secret, isSecret: true }]]));
      for (const print of ["print(json.loads(sys.stdin.read())['pw'], 'is it')", "print(sys.stdin.read(), 'is it')"]) {
        const { message } = await failureOf(run(pythonModule("import json, sys", print), { pw: secret }));
        expect(printable(mask(message))).toMatch(
          /^what it printed on its standard output is not JSON: '(?:\*\*\*|\{"pw":"\*\*\*"\}'\.\.\.$)/,
        );
        expect(mask(message)).not.toMatch(/hunter2|tail|pass|word|ssw|me|long|end/);
      }
    },
  );

  test.each([
    { answer: '{"a=b":"1"}', problem: "it gave back 'a=b', which cannot be a key: a key cannot contain '='" },
    {
      answer: String.raw`{"a":"\ud800"}`,
      problem: "it gave back 'a', which cannot be a key: a value must be well-formed",
    },
  ])("that gives back what is no key and value fails: $answer", async ({ answer, problem }) => {
    const module = pythonModule(`import sys; sys.stdout.write(r'''${answer}''')`);
    expect((await failureOf(run(module))).message).toContain(problem);
  });

  test("that prints 10 MB as its answer fails at once, and is ended", async () => {
    const script = `echo $$ > ${directory}/pid; head -c 10000000 /dev/zero; sleep 1000`;
    const startedAt = performance.now();
    const { message } = await failureOf(run(shModule(script)));
    expect(message).toBe("it printed more than 65536 bytes on its standard output");
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await vi.waitUntil(() => !isAlive(pidIn("pid")));
  });

  test("that prints without end and does not listen to SIGTERM is ended too, in little memory", async () => {
    const rssBefore = process.memoryUsage().rss;
    const { message } = await failureOf(run(shModule("trap '' TERM; cat /dev/zero")));
    expect(message).toBe("it printed more than 65536 bytes on its standard output");
    expect(process.memoryUsage().rss - rssBefore).toBeLessThan(100_000_000);
  });

  test("that prints 10 MB on its standard error is heard to its end", async () => {
    const flood = "head -c 10000000 /dev/zero | tr '\\0' x | fold -w 100 >&2; echo >&2; echo the end >&2";
    expect(await run(shModule(`${flood}; echo '{"new":"1"}'`))).toEqual({ results: { new: "1" } });
    const { lines } = await failureOf(run(shModule(`${flood}; exit 1`)));
    expect(lines).toHaveLength(20);
    expect(lines.at(-1)).toBe("the end");
  });

  test("that hangs is ended at its time-out", async () => {
    const { message, lines } = await failureOf(run(shModule("echo waiting >&2; sleep 1000", "# timeout: 500ms")));
    expect({ message, lines }).toEqual({ message: "it did not end within 500 ms", lines: ["waiting"] });
  });

  test("that hangs and does not listen to SIGTERM is killed two seconds later, with what it started", async () => {
    const script = `trap '' TERM; sleep 1000 & echo $! > ${directory}/child; echo $$ > ${directory}/pid; while :; do sleep 1; done`;
    const startedAt = performance.now();
    const { message } = await failureOf(run(shModule(script, "# timeout: 1")));
    expect(message).toBe("it did not end within 1 s");
    expect(performance.now() - startedAt).toBeGreaterThan(2_900);
    await vi.waitUntil(() => !isAlive(pidIn("pid")) && !isAlive(pidIn("child")));
  });

  test("whose run is stopped is ended soon", async () => {
    const stop = new AbortController();
    const running = failureOf(run(shModule(`echo $$ > ${directory}/pid; sleep 1000`), {}, stop.signal));
    await vi.waitUntil(() => existsSync(join(directory, "pid")) && readFileSync(join(directory, "pid"), "utf8") !== "");
    stop.abort();
    expect((await running).message).toBe("it was stopped before it ended");
    await vi.waitUntil(() => !isAlive(pidIn("pid")));
  });

  test("takes what it left in its group with it when it ends", async () => {
    await run(shModule(`sleep 1000 & echo $! > ${directory}/child`));
    await vi.waitUntil(() => !isAlive(pidIn("child")));
  });

  test("may start a daemon that leaves its group and holds the output open", async () => {
    const startedAt = performance.now();
    const script = `setsid sleep 20 & echo $! > ${directory}/child; while [ "$(ps -o sid= -p $!)" = "$(ps -o sid= -p $$)" ]; do :; done; echo '{"new":"1"}'`;
    expect(await run(shModule(script))).toEqual({ results: { new: "1" } });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(isAlive(pidIn("child"))).toBe(true);
    process.kill(pidIn("child"));
  });

  test("need not read its values, however many there are", async () => {
    const values = Object.fromEntries(
      Array.from({ length: 32 }, (_, index) => [`key-${index}`, "x".repeat(32 * 1024)]),
    );
    expect(await run(shModule("echo '{}'"), values)).toEqual({ results: {} });
    expect(await run(shModule("exec 0<&-; sleep 0.2; echo '{}'"), values)).toEqual({ results: {} });
    const echoed = pythonModule("import json, sys", "print(json.dumps({'length': str(len(sys.stdin.read()))}))");
    expect(Number((await run(echoed, values)).results["length"])).toBeGreaterThan(1024 * 1024);
  });

  test("previews no more than that it would run", async () => {
    const module = shModule(`touch ${directory}/ran`);
    const preview = await module.preview({ target: "cleanup", values: valuesOf({ a: "1", b: "2" }), signal: never });
    expect(preview).toEqual([`would run ${module.path} cleanup with 2 values`]);
    expect(existsSync(join(directory, "ran"))).toBe(false);
  });
});

describe("a script that cannot be started", () => {
  test.each([
    {
      interpreter: "#!/usr/bin/no-such-python",
      problem: "ENOENT, since its interpreter '/usr/bin/no-such-python' does not",
    },
    { interpreter: "#! /bin/no-sh -e", problem: "ENOENT, since its interpreter '/bin/no-sh' does not exist" },
    { interpreter: "#!/bin/sh\r", problem: String.raw`ENOENT, since its interpreter '/bin/sh\u000d' does not exist` },
    { interpreter: "#!/etc/passwd", problem: "cannot be started: EACCES" },
    { interpreter: "#!/", problem: "cannot be started: EACCES" },
  ])("says what is missing: $interpreter", async ({ interpreter, problem }) => {
    const { message } = await failureOf(run(moduleOf([interpreter, ...HEADER])));
    expect(message).toContain(`'${join(directory, "example")}' cannot be started: `);
    expect(message).toContain(problem);
  });

  test("says so when asked what it takes, too", async () => {
    const { message } = await failureOf(parametersOf(moduleOf(["#!/no/such/interpreter", ...HEADER])));
    expect(message).toMatch(/^--enumerate configure: '.*' cannot be started: ENOENT, since its interpreter/);
  });

  test("was removed meanwhile", async () => {
    const module = shModule("exit 0");
    rmSync(module.path);
    expect((await failureOf(run(module))).message).toBe(`'${module.path}' cannot be started: ENOENT`);
    writeFileSync(module.path, "");
  });
});

describe("what a script takes", () => {
  test("is what it lists for a target", async () => {
    const list =
      '[{"key":"a","description":"the a","required":true,"later":1},{"key":"b","hidden":true,"password":true}]';
    const module = shModule(`[ "$1 $2 $#" = "--enumerate cleanup 2" ] && echo '${list}'`);
    const common = { aliases: [], keep: false };
    expect(await parametersOf(module, "cleanup")).toEqual([
      { ...common, key: "a", description: "the a", required: true, hidden: false, password: false },
      { ...common, key: "b", description: "", required: false, hidden: true, password: true },
    ]);
  });

  test.each(["exit 1", "echo usage; exit 2", "exit 0", "cat", "echo"])(
    "is nothing for one that does not know the question: %s",
    async (script) => {
      expect(await parametersOf(shModule(script))).toEqual([]);
    },
  );

  test.each([
    { script: "echo usage: example TARGET", problem: "is not JSON: 'usage: example TARGET'" },
    { script: "echo '{}'", problem: "is not a JSON list: '{}'" },
    { script: `echo '[{"description":"x"}]'`, problem: "its list of parameters: [0].key: Invalid input" },
    { script: `echo '[{"key":"a=b"}]'`, problem: "its list of parameters: [0].key: a key cannot contain '='" },
    { script: `echo '[{"key":"a","required":"yes"}]'`, problem: "[0].required: Invalid input: expected boolean" },
    { script: "kill -9 $$", problem: "it was ended by SIGKILL" },
    { script: "cat /dev/zero", problem: "it printed more than 65536 bytes" },
  ])("cannot be found out when it answers garbage: $script", async ({ script, problem }) => {
    const { message } = await failureOf(parametersOf(shModule(script)));
    expect(message).toMatch(/^--enumerate configure: /);
    expect(message).toContain(problem);
  });

  test("is a list of limited length", async () => {
    const module = pythonModule("import json", "print(json.dumps([{'key': 'k%d' % i} for i in range(257)]))");
    expect((await failureOf(parametersOf(module))).message).toContain("Too big: expected array to have <=256 items");
  });

  test("is not waited for longer than the module has time", async () => {
    const asked = parametersOf(shModule("sleep 1000", "# timeout: 300ms"));
    expect((await failureOf(asked)).message).toBe("--enumerate configure: it did not end within 300 ms");
  });

  test("is not waited for longer than whoever asks has time", async () => {
    const asked = shModule("sleep 1000").parameters("configure", AbortSignal.timeout(300));
    expect((await failureOf(asked)).message).toBe("--enumerate configure: it did not end in time");
  });

  test("is not waited for when nobody needs it any more", async () => {
    const stop = new AbortController();
    const asked = failureOf(shModule(`touch ${directory}/asked; sleep 1000`).parameters("configure", stop.signal));
    await vi.waitUntil(() => existsSync(join(directory, "asked")));
    stop.abort();
    expect((await asked).message).toBe("--enumerate configure: it was stopped before it ended");
  });
});

/** A module as Oracle's documentation has them written. */
const AUTHENTICATION = [
  "#!/usr/bin/env python3",
  "",
  "### BEGIN PLUGIN INFO",
  "# name: authentication",
  "# configure: 90",
  "# cleanup: 10",
  "# description: Script to configure the root password, in a",
  "#   way that shows everything a module does.",
  "### END PLUGIN INFO",
  "",
  "try:",
  "    import json",
  "except ImportError:",
  "    import simplejson as json",
  "import os",
  "from templateconfig.cli import main",
  "from templateconfig.common import run_cmd",
  "",
  "",
  "def do_enumerate(target):",
  "    param = []",
  "    if target == 'configure':",
  "        param += [{'key': 'com.oracle.linux.root-password',",
  "                   'description': 'System root password: ',",
  "                   'password': True,",
  "                   'required': True}]",
  "    return json.dumps(param)",
  "",
  "",
  "def do_configure(param):",
  "    param = json.loads(param)",
  "    password = param.get('com.oracle.linux.root-password')",
  "    print('configuring')",
  "    os.system('echo from a program')",
  "    param['length'] = run_cmd(['wc', '-m'], password).strip()",
  "    return json.dumps(param)",
  "",
  "",
  "def do_cleanup(param):",
  "    param = json.loads(param)",
  "    run_cmd(['sh', '-c', 'echo no; exit 4'])",
  "    return json.dumps(param)",
  "",
  "",
  "if __name__ == '__main__':",
  "    main(do_enumerate, {'configure': do_configure, 'cleanup': do_cleanup})",
];

describe("a module written for ovm-template-config", () => {
  const env = { ...PLAIN_ENVIRONMENT, PYTHONPATH: pythonDirectory, PYTHONDONTWRITEBYTECODE: "1" };

  /** Run by hand. */
  function typed(args: readonly string[], input = ""): { code: number | null; stdout: string; stderr: string } {
    const { path } = moduleOf(AUTHENTICATION);
    const { status, stdout, stderr } = spawnSync(path, args, { input, env, encoding: "utf8" });
    return { code: status, stdout, stderr };
  }

  test("says what it takes", async () => {
    const module = moduleOf(AUTHENTICATION);
    expect(await parametersOf(module)).toEqual([
      {
        key: "com.oracle.linux.root-password",
        description: "System root password: ",
        required: true,
        hidden: false,
        password: true,
        aliases: [],
        keep: false,
      },
    ]);
    expect(await parametersOf(module, "cleanup")).toEqual([]);
  });

  test("runs unchanged, and what it prints does not spoil its answer", async () => {
    const values = { "com.oracle.linux.root-password": "pässword", other: "1" };
    expect(await run(moduleOf(AUTHENTICATION), values)).toEqual({ results: { length: "8" } });
  });

  test("fails with what is to be seen of a Python program", async () => {
    const module = moduleOf(AUTHENTICATION);
    const cleanup = module.run({ target: "cleanup", values: new Map(), signal: never });
    const { message, lines } = await failureOf(cleanup);
    expect(message).toBe("exit code 1");
    expect(lines).toContain("no");
    expect(lines.at(-1)).toContain("returned non-zero exit status 4");
  });

  test("refuses a target that it does not have", async () => {
    const module = moduleOf(AUTHENTICATION);
    const resume = module.run({ target: "resume", values: new Map(), signal: never });
    const { message, lines } = await failureOf(resume);
    expect(message).toBe("exit code 2");
    expect(lines.at(-1)).toContain("no such target: resume (known: cleanup, configure)");
  });

  test("can be tried by hand with the lines of `agent -l`", () => {
    const lines = '{"com.oracle.linux.root-password":"four"}\n{"secret":null}\n{"other":"1"}\n';
    const { code, stdout, stderr } = typed(["--stdin", "configure"], lines);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ "com.oracle.linux.root-password": "four", other: "1", length: "4" });
    expect(stderr).toContain("configuring\n");
    expect(stderr).toContain("from a program\n");
  });

  test("lists its parameters for people, and its options", () => {
    expect(typed(["--enumerate", "--human-readable", "configure"]).stdout).toBe(
      "com.oracle.linux.root-password: System root password: (required, password)\n",
    );
    expect(typed(["--help"]).stdout).toContain("-e, --enumerate");
    expect(typed([])).toMatchObject({ code: 2, stdout: "" });
    expect(typed(["configure"], "[]")).toMatchObject({
      code: 1,
      stdout: "",
      stderr: "expected JSON objects as values\n",
    });
  });

  test("reads from and writes to file descriptors that it is told", () => {
    const { path } = moduleOf(AUTHENTICATION);
    const given = join(directory, "given");
    writeFileSync(given, '{"com.oracle.linux.root-password":"x"}');
    const command = `'${path}' --input 3 --output 4 configure 3<'${given}' 4>'${directory}/answer' >'${directory}/out'`;
    expect(spawnSync("sh", ["-c", command], { env }).status).toBe(0);
    expect(JSON.parse(readFileSync(join(directory, "answer"), "utf8"))).toMatchObject({ length: "1" });
    expect(readFileSync(join(directory, "out"), "utf8")).toBe("");
  });

  test("leaves nothing of Python's beside its package", () => {
    expect(existsSync(join(pythonDirectory, "templateconfig", "__pycache__"))).toBe(false);
  });
});

describe("a script that others than root could change", () => {
  const script = ["#!/bin/sh", ...HEADER];

  async function found(...directories: string[]): Promise<FoundModules> {
    return findModules(directories, { builtin: [], pythonDirectory });
  }

  async function reasonFor(searched: string): Promise<string> {
    const { modules, problems } = await found(searched);
    expect(modules).toEqual([]);
    expect(problems).toHaveLength(1);
    return problems[0]?.reason ?? "";
  }

  test("is not loaded when it is not root's", async () => {
    const path = scriptAt(join(directory, "example"), script);
    chownSync(path, NOBODY, 0);
    expect(await reasonFor(directory)).toBe(`${path}: it belongs to user ${NOBODY}, who could change it; chown root`);
  });

  test("is not loaded from a directory that is not root's, nor from below one", async () => {
    const inner = join(directory, "inner");
    mkdirSync(inner, { mode: 0o755 });
    scriptAt(join(inner, "example"), script);
    expect((await found(inner)).modules).toHaveLength(1);
    chownSync(directory, NOBODY, 0);
    expect(await reasonFor(inner)).toBe(`${directory}: it belongs to user ${NOBODY}, who could change it; chown root`);
  });

  test("names the group that could change it", async () => {
    const path = scriptAt(join(directory, "example"), script);
    chownSync(path, 0, 42);
    chmodSync(path, 0o775);
    const group = /^([^:]*):[^:]*:42:/m.exec(readFileSync("/etc/group", "utf8"))?.[1] ?? "42";
    expect(await reasonFor(directory)).toBe(`${path}: anybody in group ${group} could change it; chmod g-w`);
  });

  test("is not loaded over a link that is not root's in a directory for all", async () => {
    const shared = join(directory, "shared");
    mkdirSync(join(shared, "modules"), { recursive: true });
    chmodSync(shared, 0o1777);
    const target = scriptAt(join(directory, "target"), script);
    symlinkSync(target, join(shared, "example"));
    symlinkSync(join(shared, "example"), join(shared, "modules", "example"));
    lchownSync(join(shared, "example"), NOBODY, NOBODY);
    expect(await reasonFor(join(shared, "modules"))).toBe(`${shared}: anybody could change it; chmod o-w`);
  });

  test("is loaded from a directory of root's in a directory for all", async () => {
    const shared = join(directory, "shared");
    mkdirSync(join(shared, "modules"), { recursive: true });
    chmodSync(shared, 0o1777);
    scriptAt(join(shared, "modules", "example"), script);
    expect((await found(join(shared, "modules"))).modules).toHaveLength(1);
    chownSync(join(shared, "modules"), NOBODY, NOBODY);
    expect(await reasonFor(join(shared, "modules"))).toContain(`it belongs to user ${NOBODY}`);
  });
});
