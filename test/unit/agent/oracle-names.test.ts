import { describe, expect, test } from "vitest";
import { calledNameOf, toAgentWords, type Translation } from "../../../agent/oracle-names.ts";
import { parseArguments } from "../../../agent/parse-arguments.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { targets } from "../../../shared/config-targets.ts";
import { version } from "../../../shared/version.ts";

type OracleName = "ovmd" | "ovm-template-config";

/** What the agent does when it is called so. */
function commandOf(name: OracleName, ...words: string[]): unknown {
  const called = toAgentWords(name, words);
  const parsed = called.type === "text" ? called : parseArguments(called.words);
  return parsed.type === "command" ? parsed.command : parsed;
}

function problemOf(name: OracleName, ...words: string[]): string {
  try {
    commandOf(name, ...words);
  } catch (error) {
    if (error instanceof CommandError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "none";
}

function isText(expected: RegExp) {
  return (called: Translation): boolean => called.type === "text" && expected.test(called.text);
}

test.each([
  { argv0: "ovmd", name: "ovmd" },
  { argv0: "/usr/bin/ovmd", name: "ovmd" },
  { argv0: "./ovm-template-config", name: "ovm-template-config" },
  { argv0: "/usr/bin/vmmessage-agent", name: "agent" },
  { argv0: "node", name: "agent" },
  { argv0: "/opt/ovmd/agent", name: "agent" },
  { argv0: "", name: "agent" },
])("called as '$argv0' it is $name", ({ argv0, name }) => {
  expect(calledNameOf(argv0)).toBe(name);
});

test("the agent's own words stay as they are", () => {
  const words = ["-p", "a=b", "--enumerate", "--", "-h"];
  expect(toAgentWords("agent", words)).toEqual({ type: "words", words });
});

describe("ovmd", () => {
  const set = { name: "set", values: [{ from: "argument", key: "key", value: "a=b" }] };

  test.each([
    { words: "-l", does: { name: "list" } },
    { words: "--list-params", does: { name: "list" } },
    { words: "-g key", does: { name: "get", key: "key" } },
    { words: "-gkey", does: { name: "get", key: "key" } },
    { words: "--get-param=key", does: { name: "get", key: "key" } },
    { words: "-r key", does: { name: "delete", keys: ["key"] } },
    { words: "--delete-param key", does: { name: "delete", keys: ["key"] } },
    { words: "-x", does: { name: "clear" } },
    { words: "--delete-params", does: { name: "clear" } },
    { words: "-p key=a=b", does: set },
    { words: "-pkey=a=b", does: set },
    { words: "--set-param=key=a=b", does: set },
    { words: "-e app.started", does: { name: "event", event: "APP.STARTED" } },
    { words: "--event=APP.STARTED", does: { name: "event", event: "APP.STARTED" } },
    { words: "-s cleanup", does: { name: "config", target: "cleanup" } },
    { words: "--script=cleanup", does: { name: "config", target: "cleanup" } },
    { words: "-d 1 -l", does: { name: "list" } },
    { words: "-ld0", does: { name: "list" } },
    { words: "--debug=1 --get-param key", does: { name: "get", key: "key" } },
  ])("$words", ({ words, does }) => {
    expect(commandOf("ovmd", ...words.split(" "))).toMatchObject(does);
  });

  test("without an operation is the daemon, which logs to syslog unless told otherwise", () => {
    expect(commandOf("ovmd")).toMatchObject({ name: "run", debugLevel: 2 });
    expect(commandOf("ovmd", "--debug=1", "--pid-file=/run/ovmd.pid", "-t5")).toMatchObject({
      name: "run",
      debugLevel: 1,
      pidFile: "/run/ovmd.pid",
      heartbeatSeconds: 5,
    });
    expect(commandOf("ovmd", "-d", "0", "-f", "/p", "-t", "30", "--channel=unix:/c", "--run-dir", "/r")).toMatchObject({
      name: "run",
      debugLevel: 0,
      pidFile: "/p",
      heartbeatSeconds: 30,
      channel: "unix:/c",
      runDirectory: "/r",
    });
  });

  test("takes what else the agent takes", () => {
    expect(commandOf("ovmd", "-p", "key=1", "--ttl", "10m")).toMatchObject({
      name: "set",
      attributes: { ttlMs: 600_000 },
    });
    expect(commandOf("ovmd", "--wait", "key")).toMatchObject({ name: "wait", key: "key" });
    expect(commandOf("ovmd", "run", "--debug", "1")).toMatchObject({ name: "run", debugLevel: 1 });
    expect(commandOf("ovmd", "check", "add", "web", "--", "curl", "-h")).toMatchObject({
      check: { command: ["curl", "-h"] },
    });
  });

  test("has a help and a version of its own", () => {
    expect(toAgentWords("ovmd", ["-h"])).toSatisfy(isText(/^Usage: ovmd \[options\]/));
    expect(commandOf("ovmd", "--version")).toEqual({ type: "text", text: `ovmd (vmmessage) ${version}\n` });
  });

  test.each([
    { words: "--frobnicate", says: "usage: unknown option '--frobnicate'" },
    { words: "-d 3", says: "usage: option '-d, --debug <level>' argument '3' is invalid. it is not 0, 1 or 2" },
    { words: "-g", says: "usage: option '-g, --get-param <key>' argument missing" },
    { words: "-p key", says: "usage: 'key' is not KEY=VALUE" },
    { words: "-l -x", says: "usage: 'list' and 'clear' are two things to do" },
    { words: "-s frobnicate", says: "usage: -s: there is no target 'frobnicate'" },
    { words: "frobnicate", says: "usage: too many arguments" },
  ])("$words is refused as the agent refuses it", ({ words, says }) => {
    expect(problemOf("ovmd", ...words.split(" "))).toContain(says);
  });
});

describe("ovm-template-config", () => {
  const keys = { from: "agent" };

  test.each([
    { words: "configure", does: { name: "config", target: "configure", modules: [], source: keys } },
    {
      words: "-s authentication --stdin configure",
      does: { name: "config", target: "configure", modules: ["authentication"], source: { from: "stdin" } },
    },
    {
      words: "configure --stdin --script=network --script datetime",
      does: { name: "config", target: "configure", modules: ["network", "datetime"], source: { from: "stdin" } },
    },
    { words: "--console-input reconfigure", does: { target: "reconfigure", source: { from: "console" } } },
    { words: "-e configure", does: { name: "config enumerate", target: "configure", isHumanReadable: false } },
    {
      words: "--human-readable --enumerate --script network cleanup",
      does: { name: "config enumerate", target: "cleanup", modules: ["network"], isHumanReadable: true },
    },
    {
      words: "--config /c --state-dir /s --run-dir=/r configure",
      does: { configFile: "/c", stateDirectory: "/s", runDirectory: "/r" },
    },
  ])("$words", ({ words, does }) => {
    expect(commandOf("ovm-template-config", ...words.split(" "))).toMatchObject(does);
  });

  test.each(targets)("has the target %s", (target) => {
    expect(commandOf("ovm-template-config", target)).toMatchObject({ name: "config", target });
  });

  test("has a help and a version of its own", () => {
    expect(toAgentWords("ovm-template-config", ["--help"])).toSatisfy(
      isText(/^Usage: ovm-template-config \[options\] TARGET/),
    );
    expect(commandOf("ovm-template-config", "--version")).toEqual({
      type: "text",
      text: `ovm-template-config (vmmessage) ${version}\n`,
    });
  });

  test.each([
    { words: "", says: "missing required argument 'target'; see ovm-template-config --help" },
    { words: "frobnicate", says: "the targets are configure, unconfigure" },
    { words: "configure cleanup", says: "too many arguments" },
    { words: "enable network configure", says: "too many arguments" },
    { words: "--human-readable configure", says: "--human-readable goes with --enumerate" },
    { words: "-e --stdin configure", says: "--enumerate lists what the modules take" },
    { words: "--stdin --console-input configure", says: "are three sources of values; give one" },
    { words: "--input 3 configure", says: "on the standard input: ovm-template-config --stdin configure <&3" },
    { words: "--input 3 --output=4 configure", says: "--input 3 is not supported" },
    { words: "--output 4 configure", says: "results are printed by: agent config configure --json >&4" },
    { words: "--ovf-transport-iso configure", says: "the host sends the values as keys, or give them with --stdin" },
    { words: "--dry-run configure", says: "unknown option '--dry-run'" },
  ])("'$words' is refused, and the message says what to do instead", ({ words, says }) => {
    const given = words.split(" ").filter(Boolean);
    expect(problemOf("ovm-template-config", ...given)).toMatch(/^usage: /);
    expect(problemOf("ovm-template-config", ...given)).toContain(says);
  });
});
