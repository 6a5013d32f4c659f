import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assertMayUseKey, mayManage, maySeeAll, maySeeVm, mayUseKey } from "../../../../manager/access/permissions.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import type { PeersConfig } from "../../../../manager/config.ts";
import { maySeeEvent } from "../../../../manager/events/filter.ts";
import { assertMayHandOver, peerPrincipal } from "../../../../manager/peers/peer-principal.ts";
import { maySeeReceipt, receiptFor } from "../../../../manager/service/answers.ts";
import type { Change } from "../../../../manager/store/store.ts";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import { aVmEvent } from "../events/event-makers.ts";
import { alice, receipt, web1 } from "./calls/calls-scene.ts";
import { newPeer } from "./memory-broker.ts";

type Rights = Pick<Principal, "role" | "vms" | "keys">;

const kvm1 = newPeer("kvm1");
const all: PeersConfig["rights"] = { role: "admin", vms: ["*"], keys: [""] };
const nobody = () => undefined;

describe("a message that waited elsewhere", () => {
  const entries = [{ key: "com.example.a", value: "1" }];
  const set: Change = { method: "set", params: { messageId: "m", entries } };
  const clear: Change = { method: "clear", params: { messageId: "m" } };
  const handOver = (rights: Partial<typeof all>, change: Change) => () => {
    assertMayHandOver(kvm1, { ...all, ...rights }, web1, change);
  };

  test("is taken only as far as it might be asked for now", () => {
    expect(handOver({}, set)).not.toThrow();
    expect(handOver({}, clear)).not.toThrow();
    expect(handOver({ keys: ["com.example."] }, set)).not.toThrow();
    expect(handOver({ role: "read" }, set)).toThrow("needs 'write'");
    expect(handOver({ vms: ["db*"] }, set)).toThrow("whoever asks through kvm1 may not reach the VM 'web1' here");
    expect(handOver({ keys: ["org."] }, set)).toThrow("'com.example.a' is none of those");
    expect(handOver({ keys: ["com.example."] }, clear)).toThrow("this reaches every key");
  });
});

describe("who asks through another manager", () => {
  test("is told from the users here by that manager's host, and says how they came", () => {
    expect(peerPrincipal(alice, kvm1, all, nobody)).toMatchObject({ name: "alice@kvm1", via: "amqp:kvm1" });
  });

  test("has a name that can be shown and kept, whatever that manager says", () => {
    const hostile = { ...alice, name: "\u001b[2J".repeat(100) };
    const { name, via } = peerPrincipal(hostile, { ...kvm1, host: "\u202e".repeat(255) }, all, nobody);
    expect(name).toMatch(/^[\x20-\x7e]{1,256}$/);
    expect(via).toMatch(/^amqp:[\x20-\x7e]{1,127}$/);
  });

  test.each([
    ["admin", "admin", undefined, "admin"],
    ["read", "admin", undefined, "read"],
    ["admin", "write", undefined, "write"],
    ["admin", "admin", "read", "read"],
    ["write", "admin", "admin", "write"],
    ["admin", "read", "write", "read"],
  ] as const)("as %s there, with %s at most here and %s of their own here, is %s", (there, most, here, role) => {
    const rightsOf = () => here && { ...all, role: here };
    expect(peerPrincipal({ ...alice, role: there }, kvm1, { ...all, role: most }, rightsOf).role).toBe(role);
  });

  test("has no rights from a user here whose name a socket there bears", () => {
    const asked: string[] = [];
    const rightsOf = (user: string): Rights => {
      asked.push(user);
      return { ...all, role: "read" };
    };
    expect(peerPrincipal({ ...alice, name: "socket:/run/s" }, kvm1, all, rightsOf).role).toBe("admin");
    expect(peerPrincipal(alice, kvm1, all, rightsOf).role).toBe("read");
    expect(asked).toEqual(["alice"]);
  });

  test("sees a VM and uses a key exactly when every list allows it", () => {
    const patterns = fc.array(fc.constantFrom("*", "web*", "web1", "w?b1", "db*", web1.id), { maxLength: 3 });
    const prefixes = fc.array(fc.constantFrom("", "app.", "app.x", "tmp/"), { maxLength: 3 });
    const rights = fc.record({ role: fc.constant("admin" as const), vms: patterns, keys: prefixes });
    const key = fc.constantFrom("", "app.", "app.x.y", "tmp/a", "other");
    fc.assert(
      fc.property(rights, rights, fc.option(rights, { nil: undefined }), key, (there, most, here, asked) => {
        const who = peerPrincipal({ ...there, name: "alice" }, kvm1, most, () => here);
        const lists = [there, most, ...(here === undefined ? [] : [here])];
        expect(maySeeVm(who, web1)).toBe(lists.every((list) => maySeeVm(list, web1)));
        expect(maySeeAll(who)).toBe(lists.every((list) => maySeeAll(list)));
        expect(mayUseKey(who, asked)).toBe(lists.every((list) => mayUseKey(list, asked)));
      }),
    );
  });

  test("is told which keys they may use here, when it is here that they may not", () => {
    const who = peerPrincipal(alice, kvm1, { ...all, keys: ["app."] }, nobody);
    expect(() => {
      assertMayUseKey(who, "secret");
    }).toThrow("alice@kvm1 may use keys that begin with 'app.'; 'secret' is none of those");
  });

  test("is limited in what they see of messages and events, and administers nothing of others", () => {
    const who = peerPrincipal(alice, kvm1, { ...all, vms: ["web*"], keys: ["app."] }, nobody);
    const ofKeys = (...keys: string[]): Receipt => ({ ...receipt, keys });
    expect(maySeeReceipt(who, ofKeys("app.a"))).toBe(true);
    expect(maySeeReceipt(who, ofKeys("app.a", "secret"))).toBe(false);
    const result = { epoch: "e", revision: 1, deleted: ["app.a", "secret"] };
    const cleared: Receipt = { ...receipt, method: "clear", keys: [], result };
    expect(receiptFor(who, cleared).result?.deleted).toEqual(["app.a"]);
    const event = { ...aVmEvent(web1.id, { type: "KEY.SET" }), id: "e", sequence: 1, position: 1 };
    const named = (resourceName: string, key: string) => ({ ...event, resourceName, data: { key } });
    expect(maySeeEvent(who, named("web1", "app.a"))).toBe(true);
    expect(maySeeEvent(who, named("web1", "secret"))).toBe(false);
    expect(maySeeEvent(who, named("db1", "app.a"))).toBe(false);
    expect(mayManage(who, { name: "bob" })).toBe(false);
    expect(mayManage(who, { name: "alice" })).toBe(false);
    expect(mayManage(who, { name: "alice@kvm1" })).toBe(true);
  });
});
