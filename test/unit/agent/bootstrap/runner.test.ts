import { describe, expect, test, vi } from "vitest";
import { type ConfigModule, ModuleError, type ModuleRun, type Parameter } from "../../../../agent/bootstrap/module.ts";
import { inOrder, type ModuleEnd, runModules, visibleValues } from "../../../../agent/bootstrap/runner.ts";
import { secretMask } from "../../../../agent/bootstrap/mask-secrets.ts";

const parameter = (key: string, more: Partial<Parameter> = {}): Parameter => ({
  key,
  aliases: [],
  description: "",
  required: false,
  hidden: false,
  password: false,
  keep: false,
  ...more,
});

function moduleOf(name: string, more: Partial<ConfigModule> = {}): ConfigModule {
  return {
    name,
    description: "",
    kind: "builtin",
    path: undefined,
    orders: new Map([["configure", 50]]),
    timeoutMs: 1_000,
    parameters: () => Promise.resolve([]),
    run: () => Promise.resolve({ results: {} }),
    preview: () => Promise.resolve([]),
    ...more,
  };
}

const plain = (value: string) => ({ value, isSecret: false });
const secret = (value: string) => ({ value, isSecret: true });

async function run(modules: ConfigModule[], values: Record<string, { value: string; isSecret: boolean }> = {}) {
  const steps: string[] = [];
  const result = await runModules({
    target: "configure",
    modules,
    values: new Map(Object.entries(values)),
    signal: new AbortController().signal,
    started: ({ name }) => Promise.resolve(void steps.push(`begin ${name}`)),
    ended: ({ name, outcome }: ModuleEnd) => Promise.resolve(void steps.push(`${outcome} ${name}`)),
  });
  return { ...result, steps };
}

describe("modules", () => {
  test("take part in a target by their order, and by name where that is the same", () => {
    const at = (order: number) => ({ orders: new Map([["configure" as const, order]]) });
    const modules = [
      moduleOf("c", at(10)),
      moduleOf("b", at(20)),
      moduleOf("a", at(20)),
      moduleOf("x", { orders: new Map() }),
    ];
    expect(inOrder(modules, "configure").map(({ name }) => name)).toEqual(["c", "a", "b"]);
  });

  test("run one after the other, whatever becomes of each", async () => {
    const fails = moduleOf("fails", { run: () => Promise.reject(new ModuleError("no", ["a line"])) });
    const skips = moduleOf("skips", { run: () => Promise.resolve({ results: {}, skipped: "nothing to do" }) });
    const { ends, steps } = await run([fails, skips, moduleOf("works")]);
    expect(steps).toEqual(["begin fails", "error fails", "begin skips", "skipped skips", "begin works", "ok works"]);
    expect(ends).toMatchObject([{ reason: "no", lines: ["a line"] }, { reason: "nothing to do" }, { outcome: "ok" }]);
  });

  test("that throw what they should not fail like the others", async () => {
    const broken = moduleOf("broken", { run: () => Promise.reject(new TypeError("undefined is not a function")) });
    expect((await run([broken])).ends).toMatchObject([{ outcome: "error", reason: "undefined is not a function" }]);
  });

  test("whose time is up are asked to end, and left behind when they do not", async () => {
    vi.useFakeTimers();
    try {
      let asked = false;
      const ends = moduleOf("ends", {
        run: ({ signal }: ModuleRun) => {
          return new Promise((_, reject) => {
            signal.addEventListener("abort", () => {
              asked = true;
              reject(signal.reason as Error);
            });
          });
        },
      });
      const running = run([ends, moduleOf("deaf", { run: () => new Promise(() => undefined) })]);
      await vi.advanceTimersByTimeAsync(30_000);
      expect((await running).ends).toMatchObject([
        { outcome: "error", reason: "it did not end within 1 s" },
        { outcome: "error", reason: "it did not end within 1 s, and could not be ended" },
      ]);
      expect(asked).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });

  test("name every value that they lack", async () => {
    const needs = moduleOf("needs", {
      parameters: () => {
        const required = { required: true };
        const [a, b] = [parameter("a", required), parameter("b", { ...required, aliases: ["old.b"] })];
        return Promise.resolve([a, b, parameter("c", { ...required, default: "1" }), parameter("d", required)]);
      },
    });
    expect((await run([needs], { "old.b": plain("1") })).ends).toMatchObject([
      { outcome: "error", reason: "needs a, d, which is not set" },
    ]);
  });

  test("of an interrupted run come to no end", async () => {
    const interrupt = new AbortController();
    const running = runModules({
      target: "configure",
      modules: [
        moduleOf("a", {
          run: () => {
            interrupt.abort(new Error("ended by SIGTERM"));
            return Promise.resolve({ results: {} });
          },
        }),
      ],
      values: new Map(),
      signal: interrupt.signal,
    });
    await expect(running).rejects.toThrow("ended by SIGTERM");
  });
});

describe("secrets", () => {
  test("are seen by the modules that name them, under any of their names", () => {
    const values = new Map(Object.entries({ a: plain("1"), "old.s": secret("2"), t: secret("3"), p: plain("4") }));
    const parameters = [parameter("s", { aliases: ["old.s"] }), parameter("p", { password: true, keep: true })];
    const { values: seen, used, kept } = visibleValues(values, parameters);
    expect(Object.fromEntries(seen)).toEqual({ a: plain("1"), "old.s": secret("2"), p: secret("4") });
    expect({ used, kept }).toEqual({ used: ["old.s"], kept: ["p"] });
  });

  test("are used up by a run, but for those that one of its modules wants to be kept", async () => {
    const naming = (name: string, ...parameters: Parameter[]) => {
      return moduleOf(name, { parameters: () => Promise.resolve(parameters) });
    };
    const modules = [naming("a", parameter("s"), parameter("t")), naming("b", parameter("t", { keep: true }))];
    const { usedSecrets } = await run(modules, { s: secret("1"), t: secret("2"), u: secret("3") });
    expect(usedSecrets).toEqual(["s"]);
  });

  test("stand in no reason, line or result", async () => {
    const leaks = moduleOf("leaks", {
      parameters: () => Promise.resolve([parameter("s")]),
      run: () => Promise.resolve({ results: { s: "hunter2", url: "http://u:hunter2@h" } }),
    });
    const fails = moduleOf("fails", { run: () => Promise.reject(new ModuleError("hunter2?", ["x hunter2 y"])) });
    const { ends } = await run([leaks, fails], { s: secret("hunter2") });
    expect(ends).toMatchObject([{ results: { url: "http://u:***@h" } }, { reason: "***?", lines: ["x *** y"] }]);
    expect(JSON.stringify(ends)).not.toContain("hunter2");
  });

  test.each([
    ["in one line", "geheim", "a geheim b", "a *** b"],
    ["in several, each of them", "line one\nline two", "x line two", "x ***"],
    ["as JSON writes them", 'a"b"c', JSON.stringify({ p: 'a"b"c' }), '{"p":"***"}'],
    ["as base64", "geheim", "Z2VoZWlt", "***"],
    ["but for pieces that stand in any word", "ab", "abc", "abc"],
  ])("are masked %s", (_, value, text, shown) => {
    expect(secretMask(new Map([["s", secret(value)]]))(text)).toBe(shown);
  });
});
