import { describe, expect, test } from "vitest";
import { parseArguments } from "../../../agent/parse-arguments.ts";

function commandOf(...args: string[]): unknown {
  const parsed = parseArguments(args);
  return parsed.type === "command" ? parsed.command : parsed;
}

describe("agent heartbeat", () => {
  test("is one beat, with the time to the next", () => {
    expect(commandOf("heartbeat", "com.example.app", "--every", "30s")).toMatchObject({
      name: "heartbeat",
      beat: { application: "com.example.app", everyMs: 30_000 },
    });
  });

  test("takes options for all commands on either side", () => {
    const expected = { isJson: true, socketPath: "/s", beat: { application: "app", everyMs: 90_000 } };
    expect(commandOf("--json", "--socket", "/s", "heartbeat", "app", "--every", "90")).toMatchObject(expected);
    expect(commandOf("heartbeat", "--every", "90", "app", "--socket=/s", "--json")).toMatchObject(expected);
  });
});

describe("agent check add", () => {
  test("runs every 30 seconds with a time-out of 10, unless told otherwise", () => {
    expect(commandOf("check", "add", "web", "--", "true")).toMatchObject({
      name: "check add",
      check: { application: "web", command: ["true"], everyMs: 30_000, timeoutMs: 10_000 },
    });
    expect(commandOf("check", "add", "web", "--every", "5s", "--", "true")).toMatchObject({
      check: { everyMs: 5_000, timeoutMs: 5_000 },
    });
    expect(commandOf("check", "add", "web", "--every", "1m", "--timeout", "20s", "--", "true")).toMatchObject({
      timeoutMs: undefined,
      check: { everyMs: 60_000, timeoutMs: 20_000 },
    });
  });

  test("leaves the command's own words alone, whatever they look like", () => {
    const words = ["curl", "-g", "--json", "--timeout", "1", "--", "-h", "", "a b", "check", "add"];
    expect(commandOf("check", "add", "web", "--", ...words)).toMatchObject({
      isJson: false,
      check: { command: words },
    });
  });
});

test("agent check list and agent check remove take what they need", () => {
  expect(commandOf("check", "list", "--json")).toMatchObject({ name: "check list", isJson: true });
  expect(commandOf("check", "remove", "web")).toMatchObject({ name: "check remove", application: "web" });
});

test.each([
  { args: "heartbeat app", says: "heartbeat needs --every" },
  { args: "heartbeat --every 30s", says: "missing required argument 'name'" },
  { args: "heartbeat a/b --every 30s", says: "an application's name is 1 to 64 of A-Z a-z 0-9 . _ -" },
  { args: "heartbeat app --every 500ms", says: "it is not between 1 s and 1 d" },
  { args: "heartbeat app --every 25h", says: "it is not between 1 s and 1 d" },
  { args: "heartbeat app --every soon", says: "it is not a duration" },
  { args: "heartbeat app -l --every 30s", says: "'list' and 'heartbeat' are two things to do" },
  { args: "-g key --every 30s", says: "--every goes with heartbeat and check add, not with get" },
  { args: "check", says: "check what?" },
  { args: "check add web", says: "what to run is missing" },
  { args: "check add web --", says: "what to run is missing" },
  { args: "check add -- true", says: "missing required argument 'name'" },
  { args: "check add web true", says: "too many arguments" },
  { args: "check add web -- ./check.sh", says: "'./check.sh' is a relative path" },
  { args: "check add web --every 5s --timeout 6s -- true", says: "--timeout 6 s is longer than --every 5 s" },
  { args: "check add web --timeout 500ms -- true", says: "1 s at least" },
  { args: `check add web -- ${"x".repeat(5_000)}`, says: "a command is over the limit of 4096 bytes" },
  { args: `check add web -- ${"x ".repeat(64)}x`, says: "64" },
  { args: "check list web", says: "too many arguments" },
])("agent $args is refused: $says", ({ args, says }) => {
  expect(() => parseArguments(args.split(" "))).toThrow(
    expect.objectContaining({ code: "usage", message: expect.stringContaining(says) as string }),
  );
});

describe("agent bootstrap", () => {
  test("takes its waiting from --wait, and what else it says from the configuration", () => {
    expect(commandOf("bootstrap")).toMatchObject({ name: "bootstrap", waitMs: undefined, isWatching: false });
    expect(commandOf("bootstrap", "--wait", "5m", "--otherwise=defaults")).toMatchObject({
      waitMs: 300_000,
      otherwise: "defaults",
    });
    expect(commandOf("bootstrap", "--watch", "--config", "/c")).toMatchObject({ isWatching: true, configFile: "/c" });
  });
});

describe("agent config", () => {
  test("runs a target with the keys of the agent, unless another source is named, and so does -s", () => {
    const plain = { name: "config", target: "cleanup", modules: [], source: { from: "agent" }, isDryRun: false };
    expect(commandOf("config", "cleanup")).toMatchObject(plain);
    expect(commandOf("-s", "cleanup")).toMatchObject(plain);
    expect(commandOf("config", "configure", "--module", "a", "--module=b", "--file", "v.yaml")).toMatchObject({
      modules: ["a", "b"],
      source: { from: "file", path: "v.yaml" },
    });
    expect(commandOf("config", "configure", "--stdin", "--dry-run")).toMatchObject({
      source: { from: "stdin" },
      isDryRun: true,
    });
  });

  test("has words of its own", () => {
    expect(commandOf("config", "list")).toMatchObject({ name: "config list" });
    expect(commandOf("config", "status", "--json")).toMatchObject({ name: "config status", isJson: true });
    expect(commandOf("config", "enumerate", "--human-readable")).toMatchObject({
      name: "config enumerate",
      target: "configure",
      isHumanReadable: true,
    });
    expect(commandOf("config", "disable", "web", "migrate")).toMatchObject({
      name: "config disable",
      module: "web",
      target: "migrate",
    });
  });
});

test.each([
  { args: "config", says: "missing required argument 'target'" },
  { args: "config explode", says: "the targets are configure, unconfigure, reconfigure" },
  { args: "-s explode", says: "there is no target 'explode'" },
  { args: "config configure --stdin --file v", says: "three sources of values" },
  { args: "config enumerate --stdin", says: "--stdin goes with config, not with config enumerate" },
  { args: "bootstrap --wait soon", says: "bootstrap --wait 'soon' is not a duration" },
  { args: "bootstrap --otherwise maybe", says: "it is not 'defaults' or 'fail'" },
  { args: "bootstrap --watch com.", says: "it takes no prefix" },
  { args: "bootstrap --watch --wait 5", says: "of the first boot" },
  { args: "bootstrap -l", says: "'list' and 'bootstrap' are two things to do" },
])("agent $args is refused: $says", ({ args, says }) => {
  expect(() => parseArguments(args.split(" "))).toThrow(says);
});
