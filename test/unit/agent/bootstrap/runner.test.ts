import { describe, expect, test, vi } from "vitest";
import { type ConfigModule, ModuleError, type ModuleRun, type Parameter } from "../../../../agent/bootstrap/module.ts";
import { declaredBy, visibleValues, withSecretsMarked } from "../../../../agent/bootstrap/declared.ts";
import { inOrder, type ModuleEnd, runModules } from "../../../../agent/bootstrap/runner.ts";
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
    limitMs: 3_600_000,
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

  test("who have not had their turn when the time for the whole run is over fail", async () => {
    const { ends } = await runModules({
      target: "configure",
      modules: [moduleOf("a", { run: () => Promise.resolve({ results: {} }) })],
      values: new Map(),
      limitMs: 0,
      signal: new AbortController().signal,
    });
    expect(ends).toMatchObject([{ outcome: "error", reason: "the time for the whole run was over before its turn" }]);
  });

  test("that cannot say what they take fail, and the others run", async () => {
    const mute = moduleOf("mute", { parameters: () => Promise.reject(new ModuleError("garbage")) });
    expect((await run([mute, moduleOf("b")])).ends).toMatchObject([{ reason: "garbage" }, { outcome: "ok" }]);
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
      limitMs: 1_000,
      signal: interrupt.signal,
    });
    await expect(running).rejects.toThrow("ended by SIGTERM");
  });
});

describe("secrets", () => {
  test("are seen by the modules that name them, under any of their names", () => {
    const values = new Map(Object.entries({ a: plain("1"), "old.s": secret("2"), t: secret("3"), p: plain("4") }));
    const { values: seen, secrets } = visibleValues(values, [parameter("s", { aliases: ["old.s"] })]);
    expect(Object.fromEntries(seen)).toEqual({ a: plain("1"), "old.s": secret("2"), p: plain("4") });
    expect(secrets).toEqual(["old.s"]);
  });

  test("are what one module calls a password to all of them, however it was set", async () => {
    const own = moduleOf("own", { parameters: () => Promise.resolve([parameter("p", { password: true })]) });
    let seen: string[] = [];
    const other = moduleOf("other", {
      run: ({ values }) => {
        seen = [...values.keys()];
        return Promise.reject(new ModuleError("it was plain-password"));
      },
    });
    const { ends, usedSecrets } = await run([other, own], { p: plain("plain-password"), q: plain("1") });
    expect(seen).toEqual(["q"]);
    expect(ends).toMatchObject([{ reason: "it was ***" }, { outcome: "ok" }]);
    expect(usedSecrets).toEqual(["p"]);
    const declared = await declaredBy([own], "configure", new AbortController().signal);
    expect(withSecretsMarked(new Map([["p", plain("x")]]), declared).get("p")).toEqual(secret("x"));
  });

  test("are used by the modules that were given them, and no others are", async () => {
    const naming = (name: string, ...parameters: Parameter[]) => {
      return moduleOf(name, { parameters: () => Promise.resolve(parameters) });
    };
    const modules = [naming("a", parameter("s"), parameter("x", { required: true })), naming("b", parameter("t"))];
    const { usedSecrets } = await run(modules, { s: secret("1"), t: secret("2"), u: secret("3") });
    expect(usedSecrets).toEqual(["t"]);
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
