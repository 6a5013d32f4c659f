import { describe, expect, test } from "vitest";
import type { EventFilter } from "../../../../shared/api/event-schemas.ts";
import type { Role } from "../../../../shared/api/schemas.ts";
import { type Event, managerEvent, type NewEvent } from "../../../../manager/events/event.ts";
import { matcherOf, maySeeEvent } from "../../../../manager/events/filter.ts";
import { aVmEvent } from "./event-makers.ts";

function written(event: NewEvent): Event {
  return { ...event, id: "e", sequence: 1, position: 1 };
}

const running = written(aVmEvent("2a0c5dc1-1111-4222-8333-944445555666", { resourceName: "web1" }));
const keySet = written(aVmEvent("u", { type: "KEY.SET", resourceName: "web1", data: { key: "com.example.role" } }));
const sent = written(
  aVmEvent("u", { type: "MESSAGE.SEND", resourceName: "web1", data: { keys: ["com.example.a", "x"] } }),
);
const cleared = written(aVmEvent("u", { type: "MESSAGE.SEND", resourceName: "web1", data: { keys: [] } }));
const fleet = written({ ...managerEvent("FLEET.SEND", 1), resourceType: "AsyncJob", resourceUUID: "job" });
const alert = written(managerEvent("ALERT.INVENTORY-DISCONNECTED", 1));

describe("a filter", () => {
  test.each<[string, EventFilter, Event, boolean]>([
    ["that limits nothing has every event", {}, alert, true],
    ["of a category", { categories: ["AlertEvent"] }, running, false],
    ["of a type", { types: ["VM.RUNNING"] }, running, true],
    ["of a type's beginning", { types: ["VM.*"] }, running, true],
    ["of another type", { types: ["KEY.*", "VM.STOPPED"] }, running, false],
    ["of a VM's name", { vms: ["web1"] }, running, true],
    ["of a pattern of names", { vms: ["web*"] }, running, true],
    ["of a UUID in capitals", { vms: ["2A0C5DC1-1111-4222-8333-944445555666"] }, running, true],
    ["of another VM", { vms: ["db*"] }, running, false],
    ["of VMs has no events of the manager", { vms: ["*"] }, alert, false],
    ["of a prefix of keys", { keys: ["com.example."] }, keySet, true],
    ["of another prefix", { keys: ["org."] }, keySet, false],
    ["of keys leaves other events alone", { keys: ["org."] }, running, true],
    ["of two things wants both", { types: ["VM.*"], vms: ["db1"] }, running, false],
  ])("%s", (_, filter, event, isWanted) => {
    expect(matcherOf(filter)(event)).toBe(isWanted);
  });
});

describe("who may see an event", () => {
  const all = { vms: ["*"], keys: [""] };
  test.each<[string, { role?: Role; vms: string[]; keys: string[] }, Event, boolean]>([
    ["of a VM: who may see the VM", { vms: ["web*"], keys: [] }, running, true],
    ["of another VM: not they", { vms: ["db*"], keys: [""] }, running, false],
    ["of a key: who may use it", { vms: ["*"], keys: ["com.example."] }, keySet, true],
    ["of a key they may not use: not they", { vms: ["*"], keys: ["org."] }, keySet, false],
    ["of a message: who may use each of its keys", { vms: ["*"], keys: ["com.example."] }, sent, false],
    ["of a message: an admin", all, sent, true],
    ["of a message that clears: who may use every key", { vms: ["*"], keys: ["com."] }, cleared, false],
    ["of the manager itself: an admin of every VM", { ...all, role: "admin" }, alert, true],
    ["of the manager itself: nobody else, for it names users and endpoints", { ...all, role: "write" }, alert, false],
    ["of the manager itself: not an admin of some VMs", { role: "admin", vms: ["web*"], keys: [""] }, alert, false],
    ["of a request for many VMs: who may see every VM", all, fleet, true],
    ["of a request for many VMs: not who may see some", { vms: ["web*"], keys: [""] }, fleet, false],
  ])("%s", (_, { role = "read", ...who }, event, maySee) => {
    expect(maySeeEvent({ role, ...who }, event)).toBe(maySee);
  });
});
