/** What becomes of messages for VMs that are away, come back, are killed in the middle, or go back in time. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { KeyAnswer, KeyList, NewMessage, Receipt } from "../../../shared/api/schemas.ts";
import { AgentUnderTest } from "../support/agents.ts";
import { type ListedVm, ManagerUnderTest } from "../support/managers.ts";

const SOON = { timeout: 30_000, interval: 50 };

/** An agent for `web1`, and a manager that knows where its channel is. */
async function pair({ isAgentRunning = true, config = {} } = {}) {
  const agent = await AgentUnderTest.start();
  onTestFinished(() => agent[Symbol.asyncDispose]());
  if (!isAgentRunning) await agent.kill("SIGTERM");
  const listed: ListedVm = { name: "web1", socket: agent.channelPath };
  const manager = await ManagerUnderTest.start([listed], config);
  onTestFinished(() => manager[Symbol.asyncDispose]());
  if (isAgentRunning) await manager.untilLink("web1", "up");
  return { agent, manager };
}

async function databaseBytes(manager: ManagerUnderTest): Promise<Buffer> {
  const files = (await readdir(manager.stateDirectory)).filter((name) => !name.endsWith(".key"));
  return Buffer.concat(await Promise.all(files.map((name) => readFile(join(manager.stateDirectory, name)))));
}

describe("a message for a VM that is away", () => {
  test("waits, and is delivered in order when the agent answers", async () => {
    const { agent, manager } = await pair({ isAgentRunning: false });
    const sent: Receipt[] = [];
    for (const value of ["1", "2", "3"]) sent.push(await manager.set("web1", "step", value));
    expect(sent.map(({ state }) => state)).toEqual(["queued", "queued", "queued"]);
    expect((await manager.vm("web1")).pending).toBe(3);
    await agent.start();
    const last = await manager.untilReceipt(sent[2]?.messageId ?? "", "delivered");
    expect(last.result).toMatchObject({ replaced: ["step"], revision: 3 });
    expect(await agent.list()).toEqual(['{"step":"3"}']);
    expect((await manager.vm("web1")).pending).toBe(0);
  });

  test("survives the manager", async () => {
    const { agent, manager } = await pair({ isAgentRunning: false });
    const { messageId } = await manager.set("web1", "foo", "bar");
    await manager.kill("SIGKILL");
    await agent.start();
    await manager.start();
    await manager.untilReceipt(messageId, "delivered");
    expect(await agent.list()).toEqual(['{"foo":"bar"}']);
  });

  test("expires when it waited too long, and is never delivered then", async () => {
    const { agent, manager } = await pair({ isAgentRunning: false });
    const { messageId } = await manager.set("web1", "foo", "bar", { expiresInMs: 1 });
    const receipt = await manager.untilReceipt(messageId, "expired");
    expect(receipt).toMatchObject({ state: "expired", endedAt: expect.any(String) as string });
    expect((await manager.vm("web1")).pending).toBe(0);
    await agent.start();
    await manager.untilLink("web1", "up");
    await manager.set("web1", "next", "1", { waitFor: "delivered" });
    expect(await agent.list()).toEqual(['{"next":"1"}']);
  });

  test("has its conditions checked when it is delivered, and one that fails holds up no other", async () => {
    const { agent, manager } = await pair();
    await manager.set("web1", "taken", "1", { waitFor: "delivered" });
    await agent.kill("SIGTERM");
    const entries = [{ key: "taken", value: "2" }];
    const refused = await manager.send("web1", { method: "set", params: { entries, ifAbsent: true } });
    const next = await manager.set("web1", "next", "1");
    await agent.start();
    await manager.untilReceipt(next.messageId, "delivered");
    expect((await manager.receipt(refused.messageId)).refusal).toMatchObject({ code: "conflict" });
    expect(await agent.list()).toEqual(['{"taken":"1"}', '{"next":"1"}'].sort());
  });

  test("that asks for more than the guest can hold is refused with the guest's reason", async () => {
    const { manager } = await pair();
    const receipt = await manager.set("web1", "big", "x".repeat(9_000), { waitFor: "delivered" });
    expect(receipt).toMatchObject({ state: "refused", refusal: { code: "over-limit", details: { limit: 8192 } } });
  });

  test("may be a deletion or clear all, told with what it deleted", async () => {
    const { agent, manager } = await pair();
    await manager.set("web1", "a", "1", { waitFor: "delivered" });
    await manager.set("web1", "b", "1", { waitFor: "delivered" });
    await agent.kill("SIGTERM");
    const deleted = await manager.send("web1", { method: "delete", params: { keys: ["a", "none"] } });
    const cleared = await manager.send("web1", { method: "clear", params: {} });
    await agent.start();
    expect((await manager.untilReceipt(cleared.messageId, "delivered")).result?.deleted).toEqual(["b"]);
    expect((await manager.receipt(deleted.messageId)).result?.deleted).toEqual(["a"]);
  });

  test("with a secret is not readable on the manager's disk, before and after it is delivered", async () => {
    const { agent, manager } = await pair({ isAgentRunning: false });
    const secret = "Tr0ub4dor-and-3-horses";
    const entries = [{ key: "password", value: secret, secret: true }];
    const { messageId } = await manager.send("web1", { method: "set", params: { entries }, log: true });
    expect((await databaseBytes(manager)).includes(secret)).toBe(false);
    await agent.start();
    await manager.untilReceipt(messageId, "delivered");
    expect((await agent.run("-g", "password")).stdout.toString()).toBe(`${secret}\n`);
    expect((await databaseBytes(manager)).includes(secret)).toBe(false);
    expect(await manager.log()).not.toContain(secret);
  });

  test("is refused when too many wait, and those that wait stay", async () => {
    const { manager } = await pair({ isAgentRunning: false, config: { messages: { maxPending: 2 } } });
    await manager.set("web1", "a", "1");
    await manager.set("web1", "b", "1");
    const answer = await manager.post("/v1/vms/web1/messages", {
      method: "set",
      params: { entries: [{ key: "c", value: "1" }] },
    });
    expect(answer).toMatchObject({ status: 413, body: { code: "over-limit" } });
    expect((await manager.vm("web1")).pending).toBe(2);
  });
});

describe("a retry under the same messageId", () => {
  const message = (value: string): NewMessage => {
    return { method: "set", params: { messageId: "mine-1", entries: [{ key: "foo", value }] } };
  };

  test("gets the first receipt and has no second effect", async () => {
    const { agent, manager } = await pair();
    await manager.send("web1", { ...message("bar"), waitFor: "delivered" });
    await manager.set("web1", "foo", "later", { waitFor: "delivered" });
    expect(await manager.send("web1", message("bar"))).toMatchObject({ state: "delivered", result: { revision: 1 } });
    expect(await agent.list()).toEqual(['{"foo":"later"}']);
  });

  test("with something else in it is a conflict", async () => {
    const { manager } = await pair({ isAgentRunning: false });
    await manager.send("web1", message("bar"));
    const answer = await manager.post("/v1/vms/web1/messages", message("other"));
    expect(answer).toMatchObject({ status: 409, body: { code: "conflict" } });
  });
});

describe("the fate of a message", () => {
  test("goes on to read and to acknowledged with a result", async () => {
    const { agent, manager } = await pair();
    const { messageId } = await manager.set("web1", "job", "42", { waitFor: "delivered" });
    await agent.run("-g", "job");
    await manager.untilReceipt(messageId, "read");
    await agent.run("--ack", "job", "--result", "done");
    expect(await manager.untilReceipt(messageId, "acknowledged")).toMatchObject({
      acknowledgement: { key: "job", result: "done" },
    });
  });

  test("is learnt afterwards when the manager was away meanwhile", async () => {
    const { agent, manager } = await pair();
    const read = await manager.set("web1", "one", "1", { waitFor: "delivered" });
    const acknowledged = await manager.set("web1", "two", "2", { waitFor: "delivered" });
    await manager.kill("SIGKILL");
    await agent.run("-g", "one");
    await agent.run("--ack", "two");
    await manager.start();
    await manager.untilReceipt(acknowledged.messageId, "acknowledged");
    // The mark stands with the entry; it is told when that is seen again.
    await vi.waitFor(async () => {
      expect((await manager.receipt(read.messageId)).state).toBe("read");
    }, SOON);
  });

  test("can be waited for", async () => {
    const { agent, manager } = await pair();
    const waiting = manager.set("web1", "job", "1", { waitFor: "acknowledged", waitMs: 30_000 });
    await vi.waitFor(async () => {
      expect((await agent.run("--ack", "job")).exitCode).toBe(0);
    }, SOON);
    expect((await waiting).state).toBe("acknowledged");
  });
});

describe("a question about a VM that is away", () => {
  test("is answered from the mirror, with its age, and what waits is shown apart", async () => {
    const { agent, manager } = await pair();
    await agent.run("-p", "ready=yes");
    await vi.waitFor(async () => {
      expect((await manager.get<KeyAnswer>("/v1/vms/web1/keys/ready")).body.entry.value).toBe("yes");
    }, SOON);
    await agent.kill("SIGTERM");
    await vi.waitFor(async () => {
      expect((await manager.vm("web1")).link.state).not.toBe("up");
    }, SOON);
    const { messageId } = await manager.set("web1", "ready", "no");
    const { body } = await manager.get<KeyAnswer>("/v1/vms/web1/keys/ready");
    expect(body).toMatchObject({ from: "mirror", entry: { value: "yes" }, pending: [{ messageId, keys: ["ready"] }] });
    expect(Date.parse(body.asOf)).toBeLessThanOrEqual(Date.now());
    await manager.kill("SIGTERM");
    await manager.start();
    const again = await manager.get<KeyList>("/v1/vms/web1/keys");
    expect(again.body).toMatchObject({ from: "mirror", entries: [{ key: "ready", value: "yes" }], asOf: body.asOf });
  });

  test("about a key it did not have says so", async () => {
    const { agent, manager } = await pair();
    await agent.kill("SIGTERM");
    await vi.waitFor(async () => {
      const answer = await manager.get("/v1/vms/web1/keys/none");
      expect(answer).toMatchObject({ status: 404, body: { code: "no-such-key" } });
    }, SOON);
  });
});
