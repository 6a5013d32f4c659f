import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Enabling } from "../../../../agent/bootstrap/enabling.ts";

let state: string;

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "enabling-"));
});

afterEach(() => {
  rmSync(state, { recursive: true });
});

function file(): string {
  return join(state, "bootstrap", "disabled.json");
}

function writeFile(text: string): void {
  mkdirSync(join(state, "bootstrap"));
  writeFileSync(file(), text);
}

describe("a module", () => {
  test("is enabled for every target until somebody says otherwise", async () => {
    const enabling = await Enabling.open(state);
    expect(enabling.isEnabled("network", "configure")).toBe(true);
  });

  test("is disabled for one target, and stays so", async () => {
    await (await Enabling.open(state)).set("network", "configure", false);
    const enabling = await Enabling.open(state);
    expect(enabling.isEnabled("network", "configure")).toBe(false);
    expect(enabling.isEnabled("network", "cleanup")).toBe(true);
    expect(enabling.isEnabled("datetime", "configure")).toBe(true);
  });

  test("can be enabled again, and then leaves nothing behind", async () => {
    const enabling = await Enabling.open(state);
    await enabling.set("network", "configure", false);
    await enabling.set("network", "configure", false);
    await enabling.set("network", "configure", true);
    expect(enabling.isEnabled("network", "configure")).toBe(true);
    expect(JSON.parse(readFileSync(file(), "utf8"))).toEqual({});
  });

  test("can be enabled when it is", async () => {
    const enabling = await Enabling.open(state);
    await enabling.set("network", "configure", true);
    expect(enabling.isEnabled("network", "configure")).toBe(true);
  });

  test("is one of several that are changed at the same time", async () => {
    const enabling = await Enabling.open(state);
    await Promise.all([
      enabling.set("network", "configure", false),
      enabling.set("network", "cleanup", false),
      enabling.set("datetime", "configure", false),
      enabling.set("network", "cleanup", true),
    ]);
    expect(JSON.parse(readFileSync(file(), "utf8"))).toEqual({ network: ["configure"], datetime: ["configure"] });
  });

  test("with a name that cannot be one is refused, and the file left as it is", async () => {
    const enabling = await Enabling.open(state);
    await expect(enabling.set("../x", "configure", false)).rejects.toThrow("a module's name is 1 to 64 of");
    expect(() => readFileSync(file())).toThrow("ENOENT");
  });
});

describe("a file that cannot be understood", () => {
  test.each([
    { text: "", problem: "not JSON" },
    { text: '{"network":["configure"', problem: "not JSON" },
    { text: "[]", problem: "expected record" },
    { text: '{"network":"configure"}', problem: "network: Invalid input: expected array" },
    { text: '{"network":["start"]}', problem: 'network[0]: Invalid option: expected one of "configure"' },
    { text: '{"a b":["configure"]}', problem: "Invalid key" },
  ])("is an error that names it, and not everything enabled: $text", async ({ text, problem }) => {
    writeFile(text);
    const error = await Enabling.open(state).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "ConfigError" });
    expect((error as Error).message).toContain(`${file()}: `);
    expect((error as Error).message).toContain(problem);
  });

  test("since it is none is an error too", async () => {
    mkdirSync(file(), { recursive: true });
    await expect(Enabling.open(state)).rejects.toThrow("EISDIR");
  });
});
