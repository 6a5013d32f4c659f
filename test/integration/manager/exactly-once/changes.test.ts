/**
 * A message has one effect in its VM, whoever is killed between the effect and its answer. What the guest applied is read
 * from the states that its cache's file had, one after the other, not from what the manager or the agent say.
 */
import { describe, expect, test } from "vitest";
import { connectUnixSocket } from "../../../../shared/channels/unix-socket.ts";
import { Client } from "../../../../shared/client.ts";
import { REMEMBERED_ANSWERS } from "../../../../shared/protocol/limits.ts";
import { historyAfter, type SentMessage } from "./expected-history.ts";
import { Scene } from "./scene.ts";

const before: SentMessage[] = [
  { method: "set", params: { messageId: "before-1", entries: [{ key: "a", value: "1" }] } },
  { method: "set", params: { messageId: "before-2", entries: [{ key: "b", value: "1" }] } },
];

/** Each with what the guest says of its first effect; a second one has less to replace or delete, or more. */
const changes: { name: string; change: SentMessage; result: object }[] = [
  {
    name: "a set",
    change: { method: "set", params: { messageId: "the-change", entries: [{ key: "new", value: "2" }] } },
    result: { revision: 3, replaced: [] },
  },
  {
    name: "a secret",
    change: {
      method: "set",
      params: { messageId: "the-change", entries: [{ key: "new", value: "hidden", secret: true }] },
    },
    result: { revision: 3, replaced: [], volatile: true },
  },
  {
    name: "a deletion",
    change: { method: "delete", params: { messageId: "the-change", keys: ["a", "none"] } },
    result: { revision: 3, deleted: ["a"] },
  },
  {
    name: "clear",
    change: { method: "clear", params: { messageId: "the-change" } },
    result: { revision: 3, deleted: ["a", "b"] },
  },
];

/** A second effect of any of the changes would show as a state between. */
const after: SentMessage = {
  method: "set",
  params: { messageId: "after", entries: [{ key: "c", value: "1" }] },
};

async function scene(): Promise<Scene> {
  const prepared = await Scene.start();
  for (const message of before) await prepared.deliver(message);
  return prepared;
}

/** The change and one after it are settled, and the guest's cache went through what they say and nothing else. */
async function expectOneEffect({ agent, manager, sent }: Scene, settled: { result: unknown }): Promise<void> {
  const receipt = await manager.untilReceipt("the-change", "delivered");
  expect(receipt.result).toEqual(settled.result);
  await manager.untilReceipt("after", "delivered");
  expect(await agent.history()).toEqual(historyAfter(sent));
}

describe.for(changes)("$name has one effect, and the first answer in its receipt,", ({ change, result }) => {
  test("when the manager is killed before it sees the answer", async () => {
    const web = await scene();
    const answer = web.relay.holdAnswer(change.method);
    await web.send(change);
    const held = await answer;
    await web.restartManager();
    await web.send(after);
    await expectOneEffect(web, held);
    expect(held.result).toMatchObject(result);
    expect(web.relay.attempts("the-change")).toBeGreaterThan(1);
  });

  test("when the agent is killed between the effect and the answer", async () => {
    const web = await scene();
    await web.agent.dieAt({ file: "cache.json", moment: "after" });
    await web.send(change);
    await web.agent.untilDead();
    const answer = web.relay.holdAnswer(change.method);
    await web.agent.start();
    const held = await answer;
    expect(await web.agent.history()).toEqual(historyAfter([...before, change]));
    held.release();
    await web.send(after);
    await expectOneEffect(web, held);
    expect(held.result).toMatchObject(result);
  });

  test("when the link is cut in the middle of the request", async () => {
    const web = await scene();
    const cut = web.relay.cutRequest(change.method);
    const answer = web.relay.holdAnswer(change.method);
    await web.send(change);
    await cut;
    const held = await answer;
    held.release();
    await web.send(after);
    await expectOneEffect(web, held);
    expect(held.result).toMatchObject(result);
  });
});

describe("a message has one effect, and the first answer in its receipt,", () => {
  const change: SentMessage = {
    method: "set",
    params: { messageId: "the-change", entries: [{ key: "a", value: "2" }] },
  };

  test("when the manager is killed and the answer comes to the one after it", async () => {
    const web = await scene();
    const first = web.relay.holdAnswer("set");
    await web.send(change);
    const held = await first;
    await web.manager.kill("SIGKILL");
    const again = web.relay.holdAnswer("set");
    await web.manager.start();
    const heldAgain = await again;
    held.release();
    heldAgain.release();
    await web.send(after);
    await expectOneEffect(web, held);
  });

  test("when the agent is killed before its answer arrives", async () => {
    const web = await scene();
    const answer = web.relay.holdAnswer("set");
    await web.send(change);
    const held = await answer;
    await web.restartAgent();
    await web.send(after);
    await expectOneEffect(web, held);
    expect(web.relay.attempts("the-change")).toBeGreaterThan(1);
  });

  test("when the agent is killed just before the effect", async () => {
    const web = await scene();
    await web.agent.dieAt({ file: "cache.json", moment: "before" });
    await web.send(change);
    await web.agent.untilDead();
    expect(await web.agent.history()).toEqual(historyAfter(before));
    const answer = web.relay.holdAnswer("set");
    await web.agent.start();
    const held = await answer;
    held.release();
    await web.send(after);
    await expectOneEffect(web, held);
  });

  test("when both are killed between the effect and the answer", async () => {
    const web = await scene();
    const answer = web.relay.holdAnswer("set");
    await web.send(change);
    const held = await answer;
    await Promise.all([web.manager.kill("SIGKILL"), web.agent.kill()]);
    await web.agent.start();
    await web.manager.start();
    await web.send(after);
    await expectOneEffect(web, held);
  });

  test("when the answer is lost on a link that stays", async () => {
    const web = await scene();
    const answer = web.relay.holdAnswer("set");
    await web.send(change);
    const held = await answer;
    await web.untilRetried("the-change");
    await web.send(after);
    await expectOneEffect(web, held);
  });
});

test("a message that waits behind one whose answer is lost has its effect after it", async () => {
  const web = await scene();
  const answer = web.relay.holdAnswer("set");
  const entries = (value: string) => [{ key: "a", value }];
  for (const value of ["2", "3", "4"]) {
    await web.send({ method: "set", params: { messageId: `step-${value}`, entries: entries(value) } });
  }
  await answer;
  await web.restartManager();
  await web.manager.untilReceipt("step-4", "delivered");
  expect(await web.agent.history()).toEqual(historyAfter(web.sent));
});

describe("a message whose answer was lost while another host changed the guest", () => {
  const change: SentMessage = {
    method: "set",
    params: { messageId: "the-change", entries: [{ key: "a", value: "2" }] },
  };

  /** Sets `a` so often, without the manager. */
  async function changedElsewhere(times: number): Promise<Scene> {
    const web = await scene();
    const answer = web.relay.holdAnswer("set");
    await web.send(change);
    await answer;
    await web.manager.kill("SIGKILL");
    const client = new Client(await connectUnixSocket(web.relay.path), { role: "host" });
    for (let number = 0; number < times; number += 1) {
      const messageId = `elsewhere-${number}`;
      await client.change("set", { messageId, entries: [{ key: "a", value: `elsewhere ${number}` }] });
    }
    await client.close();
    await web.manager.start();
    await web.manager.untilReceipt("the-change", times < REMEMBERED_ANSWERS ? "delivered" : "expired");
    await web.deliver(after);
    return web;
  }

  const valueOf = async ({ agent }: Scene): Promise<string | undefined> => {
    return (await agent.history()).at(-1)?.keys["a"]?.value;
  };

  test("is known to be delivered as long as the guest remembers", async () => {
    // The message and what was before it are answered, too.
    const times = REMEMBERED_ANSWERS - 1 - before.length;
    const web = await changedElsewhere(times);
    expect(await valueOf(web)).toBe(`elsewhere ${times - 1}`);
  });

  test("is unconfirmed, and not done again, when the guest may have forgotten it", async () => {
    const web = await changedElsewhere(REMEMBERED_ANSWERS);
    expect(await web.manager.receipt("the-change")).toMatchObject({ isUnconfirmed: true });
    expect(await valueOf(web)).toBe(`elsewhere ${REMEMBERED_ANSWERS - 1}`);
  });
});

test("a condition that held at the effect is not checked again for a lost answer", async () => {
  const web = await scene();
  const answer = web.relay.holdAnswer("set");
  await web.send({
    method: "set",
    params: { messageId: "the-change", entries: [{ key: "new", value: "1" }], ifAbsent: true },
  });
  const held = await answer;
  await web.restartManager();
  await web.send(after);
  await expectOneEffect(web, held);
});
