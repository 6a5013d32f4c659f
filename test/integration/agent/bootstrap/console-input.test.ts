/** Values that a person types, at a real terminal (script(1) has one). */
import { type ChildProcessWithoutNullStreams, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Parameter } from "../../../../agent/bootstrap/module.ts";

const program = [process.execPath, join(import.meta.dirname, "asking.ts")] as const;

const CTRL_C = "\u0003";

class Terminal {
  readonly #script: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown[]>;
  #shown = "";
  #seen = 0;

  constructor(parameters: readonly Parameter[]) {
    const words = [...program, JSON.stringify(parameters)].map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`);
    this.#script = spawn("script", ["-qefc", words.join(" "), "/dev/null"], { env: { ...process.env, TERM: "dumb" } });
    this.#ended = once(this.#script, "close");
    this.#script.stdout.on("data", (piece: Buffer) => {
      this.#shown += piece.toString();
    });
    onTestFinished(() => void this.#script.kill("SIGKILL"));
  }

  /** All that was on the screen, without what moves its cursor. */
  get shown(): string {
    return this.#shown.replace(/\u001b\[[0-9;]*[A-Za-z]/g, "").replaceAll("\r", "");
  }

  /** Types when it has been asked that, since what was typed last. */
  async answer(question: string, keys: string): Promise<void> {
    await vi.waitUntil(() => this.shown.slice(this.#seen).endsWith(question), { timeout: 30_000 });
    this.#seen = this.shown.length;
    this.#script.stdin.write(keys);
  }

  async end(): Promise<{ exitCode: number; answers: unknown }> {
    const [exitCode] = (await this.#ended) as [number];
    const last = this.shown.trimEnd().split("\n").at(-1) ?? "";
    return { exitCode, answers: exitCode === 0 && last.startsWith("[") ? JSON.parse(last) : last };
  }
}

function parameter(key: string, more: Partial<Parameter> = {}): Parameter {
  const flags = { required: false, hidden: false, password: false, keep: false };
  return { key, aliases: [], description: `the ${key}`, ...flags, ...more };
}

describe("a person at a terminal", () => {
  test("is asked for each key in its order, but for hidden ones, and once for what several modules take", async () => {
    const parameters = [parameter("name"), parameter("inner", { hidden: true }), parameter("port"), parameter("name")];
    const terminal = new Terminal(parameters);
    await terminal.answer("the name (name): ", "web 1\r");
    await terminal.answer("the port (port): ", "80\r");
    expect(await terminal.end()).toEqual({
      exitCode: 0,
      answers: [
        { key: "name", value: "web 1", isSecret: false },
        { key: "port", value: "80", isSecret: false },
      ],
    });
  });

  test("takes a default or leaves a key out with an empty answer", async () => {
    const terminal = new Terminal([parameter("port", { default: "80" }), parameter("name"), parameter("zone")]);
    await terminal.answer("the port (port) [80]: ", "\r");
    await terminal.answer("the name (name): ", "\r");
    await terminal.answer("the zone (zone): ", "UTC\r");
    expect((await terminal.end()).answers).toEqual([
      { key: "port", value: "80", isSecret: false },
      { key: "zone", value: "UTC", isSecret: false },
    ]);
  });

  test("is asked again for what is required", async () => {
    const terminal = new Terminal([
      parameter("name", { required: true }),
      parameter("pin", { required: true, password: true }),
    ]);
    await terminal.answer("the name (name): ", "\r");
    await terminal.answer("a value is needed\nthe name (name): ", "web1\r");
    await terminal.answer("the pin (pin): ", "\r");
    await terminal.answer("a value is needed\nthe pin (pin): ", "1\r");
    await terminal.answer("the pin (pin), again: ", "1\r");
    expect((await terminal.end()).answers).toMatchObject([{ key: "name" }, { key: "pin", value: "1" }]);
  });

  test("sees nothing of a password, which is typed twice, and again when it was not the same", async () => {
    const terminal = new Terminal([parameter("pin", { password: true, default: "hunter1" })]);
    await terminal.answer("the pin (pin): ", "hunter2\r");
    await terminal.answer("the pin (pin), again: ", "hunter3\r");
    await terminal.answer("the two are not the same\nthe pin (pin): ", "hunter4\r");
    await terminal.answer("the pin (pin), again: ", "hunter4\r");
    expect((await terminal.end()).answers).toEqual([{ key: "pin", value: "hunter4", isSecret: true }]);
    expect(terminal.shown.match(/hunter./g)).toEqual(["hunter4"]);
  });

  test("may leave a password out", async () => {
    const terminal = new Terminal([parameter("pin", { password: true })]);
    await terminal.answer("the pin (pin): ", "\r");
    expect((await terminal.end()).answers).toEqual([]);
  });

  test.each([
    ["a question", false],
    ["a password", true],
  ])("ends it with Ctrl-C at %s", async (_, password) => {
    const terminal = new Terminal([parameter("first"), parameter("second", { password })]);
    await terminal.answer("the first (first): ", "x\r");
    await terminal.answer("the second (second): ", CTRL_C);
    expect(await terminal.end()).toMatchObject({ exitCode: 130 });
  });

  test("is not shown what a description would do to the terminal", async () => {
    const terminal = new Terminal([parameter("name", { description: "\u001b[2Jname" })]);
    await terminal.answer(String.raw`\u001b[2Jname (name): `, "x\r");
    expect((await terminal.end()).answers).toMatchObject([{ value: "x" }]);
  });
});

test("where there is no terminal, that is said", async () => {
  const [file, ...args] = [...program, JSON.stringify([parameter("name")])];
  const running = promisify(execFile)(file, args);
  running.child.stdin?.end("web1\n");
  expect((await running).stdout).toBe(
    "usage: there is no terminal to ask at; give the values with --stdin or in a file\n",
  );
});
