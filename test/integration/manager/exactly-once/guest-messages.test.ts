/** What a guest says is kept once, whoever is killed between the keeping and the answer. */
import { expect, test, vi } from "vitest";
import type { ReceivedMessage } from "../../../../shared/api/schemas.ts";
import type { ManagerUnderTest } from "../../support/managers.ts";
import { Scene, SOON } from "./scene.ts";

async function received(manager: ManagerUnderTest): Promise<ReceivedMessage[]> {
  const { body } = await manager.get<{ received: ReceivedMessage[] }>("/v1/vms/web1/received");
  return body.received;
}

/** The agent has forgotten what it handed over. */
async function untilHandedOver({ manager }: Scene): Promise<void> {
  await vi.waitFor(async () => {
    expect(await manager.get("/v1/vms/web1/info")).toMatchObject({ body: { queuedMessages: 0 } });
  }, SOON);
}

test("an event is kept once when the manager is killed between keeping it and answering it", async () => {
  const web = await Scene.start();
  const answer = web.relay.holdAnswer("event");
  await web.agent.run("--event", "DISK.FULL");
  await answer;
  await web.restartManager();
  await untilHandedOver(web);
  const [event, ...others] = await received(web.manager);
  expect(event).toMatchObject({ kind: "event", name: "DISK.FULL" });
  expect(others).toEqual([]);
  expect(web.relay.attempts(event?.messageId ?? "")).toBeGreaterThan(1);
});

test("an event is kept once when the agent is killed before it forgets it", async () => {
  const web = await Scene.start();
  const answer = web.relay.holdAnswer("event");
  await web.agent.run("--event", "DISK.FULL");
  const held = await answer;
  await web.agent.dieAt({ file: "queue.json", moment: "before" });
  held.release();
  await web.agent.untilDead();
  await web.agent.start();
  await untilHandedOver(web);
  const [event, ...others] = await received(web.manager);
  expect(others).toEqual([]);
  expect(web.relay.attempts(event?.messageId ?? "")).toBeGreaterThan(1);
});

test("an acknowledgement counts once when the manager is killed between keeping it and answering it", async () => {
  const web = await Scene.start();
  await web.deliver({ method: "set", params: { messageId: "job-1", entries: [{ key: "job", value: "42" }] } });
  const answer = web.relay.holdAnswer("acknowledge");
  await web.agent.run("--ack", "job", "--result", "done");
  await answer;
  const { acknowledgedAt } = await web.manager.receipt("job-1");
  await web.restartManager();
  await untilHandedOver(web);
  expect(await web.manager.receipt("job-1")).toMatchObject({
    state: "acknowledged",
    acknowledgedAt,
    acknowledgement: { key: "job", result: "done" },
  });
  expect((await received(web.manager)).filter(({ kind }) => kind === "acknowledge")).toHaveLength(1);
});
