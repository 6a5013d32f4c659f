import { expect, it } from "vitest";
import { eventLine } from "../../../host-cli/event-line.ts";
import type { ShownEvent } from "../../../shared/api/event-schemas.ts";

const HEAD = "2026-11-20 23:51:34.030+0000: event";

function line(different: Partial<ShownEvent>): string {
  return eventLine({
    cursor: "00112233445566ee:1",
    id: "00000000-0000-4000-8000-000000000001",
    time: "2026-11-20T23:51:34.030Z",
    source: "management-server",
    category: "ResourceStateEvent",
    type: "VM.PAUSED",
    resourceType: "VirtualMachine",
    resourceUUID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    resourceName: "web1",
    sequence: 1,
    data: {},
    ...different,
  });
}

it.each<[what: string, event: Partial<ShownEvent>, expected: string]>([
  [
    "a state has the line of virsh event --timestamp",
    { oldState: "Running", newState: "Paused" },
    "'VM.PAUSED' for domain 'web1': Running -> Paused",
  ],
  ["a first state stands alone", { newState: "Running" }, "'VM.PAUSED' for domain 'web1': Running"],
  ["a last state is told as such", { oldState: "Running" }, "'VM.PAUSED' for domain 'web1': was Running"],
  ["without anything to tell there is no colon", { type: "VM.RESET" }, "'VM.RESET' for domain 'web1'"],
  [
    "a VM without a name is its UUID",
    { resourceName: undefined },
    "'VM.PAUSED' for domain '6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
  ],
  [
    "what was found later is marked",
    { oldState: "Running", newState: "Stopped", isResync: true },
    "'VM.PAUSED' for domain 'web1': Running -> Stopped (found later)",
  ],
  [
    "a reason stands behind the states",
    { newState: "Paused", data: { reason: "I/O error" } },
    `'VM.PAUSED' for domain 'web1': Paused, reason="I/O error"`,
  ],
  [
    "a key is named",
    { type: "KEY.SET", data: { key: "com.example.ready", setBy: "guest" } },
    "'KEY.SET' for domain 'web1': key=com.example.ready setBy=guest",
  ],
  [
    "a value that was asked for is whole",
    { type: "KEY.SET", data: { key: "a", value: "x y".repeat(100) } },
    `'KEY.SET' for domain 'web1': key=a value="${"x y".repeat(100)}"`,
  ],
  [
    "an event of the manager names no VM",
    {
      type: "ALERT.LINK-LOST",
      resourceType: "ManagementServer",
      resourceUUID: "",
      resourceName: undefined,
      data: { n: 3 },
    },
    "'ALERT.LINK-LOST': n=3",
  ],
  [
    "a job is named",
    { type: "FLEET.SEND", resourceType: "AsyncJob", resourceUUID: "m1", newState: "Completed" },
    "'FLEET.SEND' for job 'm1': Completed",
  ],
  [
    "what a guest says cannot look like something else",
    { type: "GUEST.X", data: { "a b": "c' d=e", deep: { er: [1] } } },
    `'GUEST.X' for domain 'web1': "a b"="c' d=e" deep={"er":[1]}`,
  ],
])("%s", (_, event, expected) => {
  expect(line(event)).toBe(`${HEAD} ${expected}`);
});

it("what a guest says is cut where it is long or much", () => {
  const said = line({
    type: "GUEST.X",
    data: Object.fromEntries(Array.from({ length: 999 }, (_, n) => [n, "x".repeat(999)])),
  });
  expect(said.length).toBeLessThan(700);
  expect(said).toMatch(/^.* 0=x{61}\.\.\. 1=.* 7=x{61}\.\.\. \.\.\.$/);
});
