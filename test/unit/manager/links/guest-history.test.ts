import { describe, expect, test } from "vitest";
import { compareGreeting, hasGoneBack } from "../../../../manager/links/guest-history.ts";
import type { AgentFacts } from "../../../../manager/store/store.ts";
import type { HelloResult } from "../../../../shared/protocol/message.ts";

const known: AgentFacts = {
  software: "vmmessage 0.1.0",
  uuid: "uuid-1",
  bootId: "boot-1",
  nonce: "agent-1",
  epoch: "epoch-1",
  revision: 10,
  uptimeMs: 60_000,
  clonedFrom: undefined,
  limitBytes: 8192,
  greetedAt: 0,
};

function hello(changes: Partial<HelloResult> = {}): HelloResult {
  const { software, uuid, bootId, nonce, epoch, revision } = known;
  const limits = { cache: 8192, value: 1, key: 1, payload: 1 };
  return {
    role: "guest",
    version: 1,
    software,
    uuid,
    bootId,
    nonce,
    epoch,
    revision,
    limits,
    ...changes,
  };
}

describe("a greeting tells", () => {
  test.each<[what: string, said: Partial<HelloResult>, uptimeMs: number, findings: string[]]>([
    ["nothing when the guest is as it was", { revision: 12 }, 61_000, []],
    ["a reboot by the boot id", { bootId: "boot-2", nonce: "agent-2", epoch: "epoch-2" }, 500, ["rebooted"]],
    ["an agent's restart by its nonce", { nonce: "agent-2", epoch: "epoch-2" }, 61_000, ["agent-restarted"]],
    ["a revert by a revision that went down", { revision: 9 }, 61_000, ["reverted"]],
    ["a revert by an uptime that went down", { revision: 40 }, 30_000, ["reverted"]],
    [
      "a fresh cache by a new epoch that has fewer revisions",
      { bootId: "boot-2", nonce: "agent-2", epoch: "epoch-2", revision: 0 },
      500,
      ["rebooted", "fresh-cache"],
    ],
    [
      "a clone by another DMI UUID",
      { uuid: "uuid-2", bootId: "boot-2", nonce: "agent-2", epoch: "epoch-2", clonedFrom: "uuid-1", revision: 0 },
      500,
      ["cloned", "rebooted", "fresh-cache"],
    ],
  ])("%s", (_what, said, uptimeMs, findings) => {
    expect(compareGreeting(known, hello(said), uptimeMs)).toEqual(findings);
  });

  test("that a guest was never seen before", () => {
    expect(compareGreeting(undefined, hello(), 1)).toEqual(["first-seen"]);
  });

  test("of a clone once, however often it is greeted", () => {
    const cloned = { ...known, clonedFrom: "uuid-0" };
    expect(compareGreeting(cloned, hello({ clonedFrom: "uuid-0" }), 61_000)).toEqual([]);
  });
});

test("an uptime that was read a little later than it was true is no revert", () => {
  expect(hasGoneBack(known, { epoch: "epoch-1", revision: 10, uptimeMs: 59_500 })).toBe(false);
  expect(hasGoneBack(known, { epoch: "epoch-1", revision: 10, uptimeMs: undefined })).toBe(false);
});
