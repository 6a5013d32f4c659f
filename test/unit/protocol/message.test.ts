import { describe, expect, it } from "vitest";
import { RequestError } from "../../../shared/protocol/errors.ts";
import {
  MAX_APPLICATION_REASON,
  MAX_APPLICATIONS,
  MAX_COMMAND_BYTES,
  MAX_COMMAND_WORDS,
  MAX_ENTRIES_PER_CHANGE,
  MAX_NESTING,
  MAX_PAYLOAD,
  MAX_VALUE,
} from "../../../shared/protocol/limits.ts";
import { describeIssues, parseMessage, requests } from "../../../shared/protocol/message.ts";

function nested(levels: number): string {
  return '{"a":'.repeat(levels) + "1" + "}".repeat(levels);
}

function errorWith(data: string): string {
  return `{"jsonrpc":"2.0","id":"h1.1","error":{"code":-32002,"message":"no","data":${data}}}`;
}

function eventWith(data: string): boolean {
  return requests.event.params.safeParse({ messageId: "m1", event: "UP", data: JSON.parse(data) as unknown }).success;
}

describe("data of the other side's choice", () => {
  it("may be nested, but not so deep that printing it again overflows the stack", () => {
    expect(eventWith(nested(MAX_NESTING))).toBe(true);
    expect(eventWith(nested(MAX_NESTING + 1))).toBe(false);
    expect(eventWith(nested(40_000))).toBe(false);
    expect(eventWith(`{"a":${"[".repeat(40_000)}${"]".repeat(40_000)}}`)).toBe(false);
    expect(parseMessage(errorWith(nested(MAX_NESTING))).type).toBe("error");
    expect(parseMessage(errorWith(nested(40_000))).type).toBe("invalid-response");
  });

  it("pollutes no prototype", () => {
    const message = parseMessage(errorWith('{"__proto__":{"polluted":true},"constructor":{"polluted":true}}'));
    if (message.type !== "error") throw new Error("it is an error");
    const { code, details } = RequestError.fromRpc(message.error);
    expect(code).toBe("failed");
    expect(Object.keys(details)).toEqual(["constructor"]);
    const event = '{"messageId":"m1","event":"UP","data":{"__proto__":{"polluted":true}}}';
    expect(Object.keys(requests.event.params.parse(JSON.parse(event)).data ?? {})).toEqual([]);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("an application", () => {
  const check = { application: "web", command: ["true"], everyMs: 30_000, timeoutMs: 10_000 };
  const isSound = (changes: object): boolean => requests.addCheck.params.safeParse({ ...check, ...changes }).success;

  it("has a name that needs no quotes anywhere", () => {
    expect(["a", "com.example.app-1_B", "x".repeat(64)].every((application) => isSound({ application }))).toBe(true);
    const others = ["", "a b", "a/b", "a=b", "é", "a\n", "x".repeat(65)];
    expect(others.filter((application) => isSound({ application }))).toEqual([]);
  });

  it("beats or is checked once a second at most, and once a day at least", () => {
    expect([1_000, 86_400_000].every((everyMs) => isSound({ everyMs }))).toBe(true);
    expect([0, 999, 1_000.5, 86_400_001].filter((everyMs) => isSound({ everyMs }))).toEqual([]);
  });

  it("is checked by a command of bounded length, which the system can be given", () => {
    expect([["a", ""], ["x".repeat(MAX_COMMAND_BYTES)]].every((command) => isSound({ command }))).toBe(true);
    const others = [[], ["a\0b"], ["é".repeat(MAX_COMMAND_BYTES / 2), "a"], Array(MAX_COMMAND_WORDS + 1).fill("a")];
    expect(others.filter((command) => isSound({ command }))).toEqual([]);
  });

  it("is one of so many that an answer to a ping stays small", () => {
    const state = { name: "a", kind: "check", state: "failing", forMs: 1, reason: "x".repeat(MAX_APPLICATION_REASON) };
    const answer = (applications: object[]): boolean => {
      return requests.ping.result.safeParse({ uptimeMs: 1, applications }).success;
    };
    const named = (count: number): object[] => {
      return Array.from({ length: count }, (_, index) => ({ ...state, name: `a${index}` }));
    };
    expect(answer(named(MAX_APPLICATIONS))).toBe(true);
    expect(answer(named(MAX_APPLICATIONS + 1))).toBe(false);
    expect(answer([{ ...state, reason: `${state.reason}x` }])).toBe(false);
    expect(answer([state, state]), "one that stands there twice").toBe(false);
  });
});

describe("a complaint about parameters", () => {
  it("names the place and the reason", () => {
    const { error } = requests.set.params.safeParse({ messageId: "m1", entries: [{ key: "a=b", value: "x" }] });
    if (error === undefined) throw new Error("it is refused");
    expect(describeIssues(error)).toContain("entries[0].key: a key cannot contain '='");
  });

  it("stays short, however many mistakes there are", () => {
    const entries = Array.from({ length: MAX_ENTRIES_PER_CHANGE }, () => ({ key: "" }));
    const { error } = requests.set.params.safeParse({ messageId: "m1", entries });
    if (error === undefined) throw new Error("it is refused");
    expect(describeIssues(error).length).toBeLessThan(1000);
    expect(describeIssues(error)).toMatch(/; and \d+ more$/);
  });
});

describe("reading a message", () => {
  it("does not overflow on JSON as deep as a frame allows", () => {
    expect(parseMessage("[".repeat(MAX_PAYLOAD)).type).toBe("invalid");
    expect(parseMessage("[".repeat(MAX_PAYLOAD / 2) + "]".repeat(MAX_PAYLOAD / 2)).type).toBe("invalid");
  });

  it("checks base64 of a frame's size in a moment, sound or not", () => {
    const sound = "A".repeat(MAX_PAYLOAD);
    for (const base64 of [sound, `${sound}!`, `${sound.slice(1)}!`]) {
      const params = { messageId: "m1", entries: [{ key: "a", base64 }] };
      expect(requests.set.params.safeParse(params).success).toBe(false);
    }
    const largest = Buffer.alloc(MAX_VALUE, 0xff).toString("base64");
    const params = { messageId: "m1", entries: [{ key: "a", base64: largest }] };
    expect(requests.set.params.safeParse(params).success).toBe(true);
  });
});
