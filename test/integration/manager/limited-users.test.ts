/** What a user who may use only some keys or see only some VMs is told, and what the audit log says of everybody. */
import { join } from "node:path";
import { beforeEach, afterEach, describe, expect, test, vi } from "vitest";
import type {
  AuditRecord,
  KeyList,
  NewMessage,
  Problem,
  Receipt,
  ReceivedMessage,
  UserChange,
} from "../../../shared/api/schemas.ts";
import { AgentUnderTest } from "../support/agents.ts";
import { type Answer, type Credentials, ManagerUnderTest } from "../support/managers.ts";

const SOON = { timeout: 30_000, interval: 50 };
const password = "correct horse battery";

let agent: AgentUnderTest;
let manager: ManagerUnderTest;
/** Nobody listens there. */
let offSocket: string;

beforeEach(async () => {
  agent = await AgentUnderTest.start();
  offSocket = join(agent.directory, "nobody");
  manager = await ManagerUnderTest.start([
    { name: "web1", socket: agent.channelPath },
    { name: "off", socket: offSocket },
  ]);
  await manager.untilLink("web1", "up");
});

afterEach(async () => {
  await manager[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
});

async function user(name: string, rights: UserChange): Promise<Credentials> {
  expect((await manager.call("PUT", `/v1/users/${name}`, { ...rights, password })).status).toBe(200);
  return { user: name, password };
}

/** May use keys that begin with `app.` and no others. */
function appUser(): Promise<Credentials> {
  return user("app", { role: "write", keys: ["app."] });
}

function ask<T>(who: Credentials, path: string): Promise<Answer<T>> {
  return manager.call<T>("GET", path, undefined, who);
}

function setting(...keys: string[]): NewMessage {
  return { method: "set", params: { entries: keys.map((key) => ({ key, value: "v" })) } };
}

async function audited(action: string): Promise<AuditRecord[]> {
  const { records } = (await manager.get<{ records: AuditRecord[] }>("/v1/audit")).body;
  return records.filter((record) => record.action === action);
}

describe("messages that wait", () => {
  beforeEach(async () => {
    await manager.set("web1", "app.known", "1", { waitFor: "delivered" });
    await agent.kill("SIGKILL");
    await manager.untilLink("web1", "down");
    await manager.send("web1", setting("other.one"));
    await manager.send("web1", setting("app.two", "other.two"));
  });

  test("are told in a list with those of their keys that the asker may use", async () => {
    const { body } = await ask<KeyList>(await appUser(), "/v1/vms/web1/keys");
    expect(body.pending.map(({ keys }) => keys)).toEqual([["app.two"]]);
    const everything = (await manager.get<KeyList>("/v1/vms/web1/keys")).body;
    expect(everything.pending.map(({ keys }) => keys)).toEqual([["other.one"], ["app.two", "other.two"]]);
  });

  test("are not found by a prefix of a key that the asker may not use", async () => {
    const { body } = await ask<KeyList>(await appUser(), "/v1/vms/web1/keys?prefix=other.");
    expect(body.pending).toEqual([]);
  });

  test("and clear everything are told to everybody", async () => {
    await manager.send("web1", { method: "clear", params: {} });
    const { body } = await ask<KeyList>(await appUser(), "/v1/vms/web1/keys?prefix=app.k");
    expect(body.pending).toMatchObject([{ method: "clear", keys: [] }]);
  });

  test("are told so in the details of an error too", async () => {
    const who = await appUser();
    const noKey = (await ask<Problem>(who, "/v1/vms/web1/keys/app.two")).body;
    expect(noKey).toMatchObject({ code: "no-such-key", details: { pending: [{ keys: ["app.two"] }] } });
    await manager.send("off", setting("app.three", "other.three"));
    await manager.send("off", setting("other.four"));
    const neverHeard = (await ask<Problem>(who, "/v1/vms/off/keys")).body;
    expect(neverHeard).toMatchObject({ code: "unreachable", details: { pending: [{ keys: ["app.three"] }] } });
    expect(JSON.stringify([noKey, neverHeard])).not.toContain("other.");
  });
});

describe("who may use only some keys", () => {
  test("sees that everything was cleared, and of what was there only those", async () => {
    const who = await appUser();
    await manager.send("web1", { ...setting("app.a", "other.b"), waitFor: "delivered" });
    const { messageId } = await manager.send("web1", { method: "clear", params: {}, waitFor: "delivered" });
    expect((await manager.receipt(messageId)).result?.deleted).toEqual(["app.a", "other.b"]);
    const one = await ask<Receipt>(who, `/v1/messages/${messageId}?waitFor=delivered`);
    expect(one.body.result?.deleted).toEqual(["app.a"]);
    const { receipts } = (await ask<{ receipts: Receipt[] }>(who, "/v1/vms/web1/messages")).body;
    expect(receipts.map(({ method, result }) => ({ method, deleted: result?.deleted }))).toEqual([
      { method: "clear", deleted: ["app.a"] },
    ]);
  });

  test("is told by the agent's info of those alone that are no file", async () => {
    const who = await appUser();
    const [own, others] = [`app.${"/".repeat(200)}`, `other.${"/".repeat(200)}`];
    await manager.send("web1", { ...setting(own, others), waitFor: "delivered" });
    interface Info {
      unprojectedKeys: string[];
    }
    expect((await manager.get<Info>("/v1/vms/web1/info")).body.unprojectedKeys).toEqual([own, others]);
    expect((await ask<Info>(who, "/v1/vms/web1/info")).body.unprojectedKeys).toEqual([own]);
  });

  test("finds the newest message sent to their keys, however many others were sent since", async () => {
    const who = await appUser();
    const { messageId } = await manager.set("off", "app.own", "1");
    for (const key of ["other.1", "other.2"]) await manager.set("off", key, "1");
    const { receipts } = (await ask<{ receipts: Receipt[] }>(who, "/v1/vms/off/messages?limit=1")).body;
    expect(receipts.map((receipt) => receipt.messageId)).toEqual([messageId]);
    await manager.set("off", "app.newer", "1");
    expect((await ask<{ receipts: Receipt[] }>(who, "/v1/vms/off/messages?limit=1")).body.receipts).toHaveLength(1);
  });

  test("finds the newest message from their keys, however many others came since", async () => {
    const who = await appUser();
    await manager.send("web1", { ...setting("app.own", "other.1"), waitFor: "delivered" });
    interface Received {
      received: ReceivedMessage[];
    }
    for (const [before, key] of ["app.own", "other.1"].entries()) {
      await agent.run("--ack", key);
      await vi.waitFor(async () => {
        const { received } = (await manager.get<Received>("/v1/vms/web1/received")).body;
        expect(received).toHaveLength(before + 1);
      }, SOON);
    }
    const { received } = (await ask<Received>(who, "/v1/vms/web1/received?limit=1")).body;
    expect(received).toMatchObject([{ kind: "acknowledge", key: "app.own" }]);
  });
});

describe("who may see only some VMs", () => {
  test("sees a renamed VM's messages by its present name, and no more by the old one", async () => {
    const uuid = "172dd6f8-0000-4000-8000-00000000000a";
    await manager.list([{ name: "old1", socket: offSocket, uuid }]);
    await vi.waitFor(() => manager.vm("old1"), SOON);
    const { messageId } = await manager.set("old1", "k", "v");
    await manager.list([{ name: "new1", socket: offSocket, uuid }]);
    await vi.waitFor(() => manager.vm("new1"), SOON);
    const before = await user("before", { role: "read", vms: ["old*"] });
    const now = await user("now", { role: "read", vms: ["new*"] });
    const unseen = (await ask<Problem>(before, `/v1/messages/${messageId}`)).body;
    expect(unseen).toMatchObject({ code: "failed", detail: `there is no message '${messageId}'` });
    expect((await ask<Receipt>(now, `/v1/messages/${messageId}`)).body).toMatchObject({ messageId });
    const { receipts } = (await ask<{ receipts: Receipt[] }>(now, "/v1/vms/new1/messages")).body;
    expect(receipts.map((receipt) => receipt.messageId)).toEqual([messageId]);
  });

  test("and reads the audit log finds what concerns those, behind any number of others", async () => {
    const who = await user("webadmin", { role: "admin", vms: ["web*"] });
    await manager.set("web1", "k", "v");
    await manager.set("off", "k", "v");
    interface Log {
      records: AuditRecord[];
    }
    const { records } = (await ask<Log>(who, "/v1/audit?limit=1")).body;
    expect(records).toMatchObject([{ action: "set", vm: { name: "web1" } }]);
    const all = (await ask<Log>(who, "/v1/audit")).body.records;
    expect(new Set(all.map(({ vm }) => vm?.name))).toEqual(new Set(["web1"]));
    expect((await manager.get<Log>("/v1/audit")).body.records.length).toBeGreaterThan(all.length);
  });
});

describe("the audit log", () => {
  test("has who read what came from a guest", async () => {
    const who = await appUser();
    await ask(who, "/v1/vms/web1/received");
    expect(await audited("received")).toMatchObject([{ who: "app", vm: { name: "web1" }, keys: ["*"], outcome: "ok" }]);
  });

  test("has one record of a fleet's message that was refused, without a VM", async () => {
    const fleet = { vms: { all: true }, request: setting("other.b") };
    expect((await manager.call("POST", "/v1/fleet", fleet, await appUser())).status).toBe(403);
    const records = await audited("set");
    expect(records).toMatchObject([{ who: "app", keys: ["other.b"], outcome: "not-permitted" }]);
    expect(records[0]).not.toHaveProperty("vm");
  });
});
