/** The same command straight to the channel and through the manager: the same output, the same exit code. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentUnderTest } from "../support/agents.ts";
import { ManagerUnderTest } from "../support/managers.ts";

const vmmessage = join(import.meta.dirname, "..", "..", "..", "dist", "vmmessage.js");

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Two agents that are told the same things, one of them behind a manager. */
let near: AgentUnderTest;
let far: AgentUnderTest;
let manager: ManagerUnderTest;

beforeAll(async () => {
  [near, far] = await Promise.all([AgentUnderTest.start(), AgentUnderTest.start()]);
  manager = await ManagerUnderTest.start([{ name: "web1", socket: far.channelPath }]);
  await manager.untilLink("web1", "up");
});

afterAll(async () => {
  await manager[Symbol.asyncDispose]();
  await Promise.all([near, far].map((agent) => agent[Symbol.asyncDispose]()));
});

function run(args: string[], input = ""): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [vmmessage, "-v", "web1", ...args], (error, stdout, stderr) => {
      resolve({
        code: error === null ? 0 : Number(error.code),
        stdout: comparable(stdout),
        stderr: comparable(stderr),
      });
    });
    child.stdin?.end(input);
  });
}

/** Members of JSON answers that differ between two guests, or that only a manager can tell. */
const VARYING = ["ageMs", "usedBytes", "roundTripMs", "uptimeMs", "setAt", "messageId", "epoch"];
const MANAGERS_OWN = ["from", "asOf", "pending", "by", "queuedAt", "expiresAt", "deliveredAt", "state", "vm"];

function comparable(text: string): string {
  if (text.startsWith("{")) {
    return JSON.stringify(JSON.parse(text), (name, value: unknown) => {
      return [...VARYING, ...MANAGERS_OWN].includes(name) ? undefined : value;
    });
  }
  return (
    text
      .replace(/\d+ (?:second|minute)s?/g, "N seconds")
      .replace(/answered in [\d.]+ ms/g, "answered in N ms")
      // Only a manager keeps receipts.
      .replace(/'vmmessage receipt \w+' tells what became of it, and /g, "")
      .replace(/--message-id \w+/g, "--message-id ID")
      .replace(/[ \t]+/g, " ")
  );
}

test.each<[what: string, args: string[], code: number, input?: string]>([
  ["a key is set", ["-k", "foo", "-V", "bar"], 0],
  ["a key is queried", ["-q", "foo"], 0],
  ["a key is queried, the bare value", ["-q", "foo", "--quiet"], 0],
  ["a key is queried as JSON", ["-q", "foo", "--json"], 0],
  ["a key is queried that is not there", ["-q", "none"], 1],
  ["a key is queried that is not there, as JSON", ["-q", "none", "--json"], 1],
  ["several keys are set at once", ["-k", "a", "-V", "1", "-k", "b", "-V", "2", "--json"], 0],
  ["a value comes from the standard input", ["--value-stdin", "c", "--quiet"], 0, "bytes"],
  ["a secret is set", ["-k", "password", "-V", "hush", "--secret", "--quiet"], 0],
  ["a secret is queried", ["-q", "password", "--quiet"], 0],
  ["a condition does not hold", ["-k", "foo", "-V", "x", "--if-absent"], 5],
  ["a condition does not hold, as JSON", ["-k", "foo", "-V", "x", "--if-absent", "--json"], 5],
  ["a value is over the limit", ["-k", "big", "-V", "x".repeat(9_000)], 4],
  ["a key is no key", ["-k", " bad", "-V", "x"], 3],
  ["the keys are listed", ["list"], 0],
  ["the keys with a prefix are listed as JSON", ["list", "a", "--json"], 0],
  ["a key is waited for that is there", ["wait", "foo"], 0],
  ["a key is waited for in vain", ["wait", "never", "--timeout", "1s"], 10],
  [
    "an acknowledgement is waited for in vain",
    ["-k", "foo", "-V", "y", "--wait-ack", "--timeout", "2s", "--quiet"],
    11,
  ],
  ["the agent is pinged", ["ping"], 0],
  ["keys are deleted", ["delete", "a", "none", "--json"], 0],
  ["everything is deleted", ["clear"], 0],
  ["an empty list is printed", ["list"], 0],
])("reads the same when %s", async (_what, args, code, input) => {
  const [straight, managed] = await Promise.all([
    run(["--socket", near.channelPath, ...args], input),
    run(["--manager", manager.socketPath, ...args], input),
  ]);
  expect(straight.code).toBe(code);
  expect(managed).toEqual(straight);
});
