import { expect, it } from "vitest";
import { parseLibvirtEvent } from "../../../../manager/inventory/libvirt-events.ts";

const TIME = "2026-11-20 23:51:34.030+0000: ";
const at = Date.UTC(2026, 10, 20, 23, 51, 34, 30);

it.each([
  ["Suspended Paused", { word: "Suspended", detail: "Paused" }],
  ["Suspended I/O Error", { word: "Suspended", detail: "I/O Error" }],
  ["Shutdown Finished after host request", { word: "Shutdown", detail: "Finished after host request" }],
])("reads a lifecycle event: %s", (text, lifecycle) => {
  const line = `${TIME}event 'lifecycle' for domain 'web1': ${text}`;
  expect(parseLibvirtEvent(line)).toEqual({ at, kind: "lifecycle", domain: "web1", lifecycle });
});

it("reads events of other kinds, with text and without", () => {
  expect(parseLibvirtEvent(`${TIME}event 'reboot' for domain 'web1'`)).toEqual({ at, kind: "reboot", domain: "web1" });
  const watchdog = `${TIME}event 'watchdog' for domain 'web1': reset`;
  expect(parseLibvirtEvent(watchdog)).toEqual({ at, kind: "watchdog", domain: "web1" });
});

it.each([
  ["web1", "connected", "channel event"],
  ["it's", "disconnected", "domain started"],
  ["x': state: 'connected' reason: 'channel event", "disconnected", "channel event"],
])("knows the domain of a guest agent's event: %s is %s by %s", (domain, state, reason) => {
  const line = `${TIME}event 'agent-lifecycle' for domain '${domain}': state: '${state}' reason: '${reason}'`;
  expect(parseLibvirtEvent(line)).toEqual({ at, kind: "agent-lifecycle", domain });
});

it("reads a time of another zone", () => {
  expect(parseLibvirtEvent("2026-11-21 01:21:34.030+0130: event 'reboot' for domain 'a'")?.at).toBe(at);
});

it.each([
  "a b",
  "--all",
  "42",
  "it's",
  "x': Stopped Failed",
  "2026-11-20 23:51:34.030+0000: event 'lifecycle' for domain 'g1': Stopped Failed",
  "\u2028\u0085é",
])("a domain may be called %j", (name) => {
  const line = `${TIME}event 'lifecycle' for domain '${name}': Stopped Destroyed`;
  expect(parseLibvirtEvent(line)).toMatchObject({ domain: name, lifecycle: { word: "Stopped", detail: "Destroyed" } });
});

it.each([
  "",
  "events received: 2",
  "event loop interrupted",
  "\tx509dname=event 'lifecycle' for domain 'g1': Stopped Failed",
  "event 'reboot' for domain 'web1'",
  "2026-99-99 23:51:34.030+0000: event 'reboot' for domain 'web1'",
  `${TIME}event 'reboot' for network 'web1'`,
])("%j is no event of a domain", (line) => {
  expect(parseLibvirtEvent(line)).toBeUndefined();
});
