/** A client that lost the manager's answer sends the same messageId again: it is one message. */
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { expect, test, vi } from "vitest";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import type { ManagerUnderTest } from "../../support/managers.ts";
import { historyAfter, type SentMessage } from "./expected-history.ts";
import { Scene, SOON } from "./scene.ts";

const message: SentMessage = {
  method: "set",
  params: { messageId: "mine-1", entries: [{ key: "foo", value: "bar" }] },
};

/** Sends it and is cut off when the manager has kept it and, told to wait, has not answered. */
async function sendAndBeCutOff(manager: ManagerUnderTest, path: string, body: object, kept: string): Promise<void> {
  const { socketPath } = manager;
  const headers = { "content-type": "application/json" };
  const asking = request({ socketPath, method: "POST", path, headers, agent: false });
  const answered = vi.fn();
  asking.on("response", answered);
  asking.on("error", () => undefined);
  asking.end(JSON.stringify(body));
  await vi.waitFor(async () => {
    expect((await manager.get(kept)).body).toMatchObject({ pending: 1 });
  }, SOON);
  asking.destroy();
  expect(answered).not.toHaveBeenCalled();
}

/** The beginning of an answer that is a stream, which is then let go. */
async function answerTo({ socketPath }: ManagerUnderTest, path: string, body: object): Promise<IncomingMessage> {
  const headers = { "content-type": "application/json" };
  const asking = request({ socketPath, method: "POST", path, headers, agent: false });
  asking.end(JSON.stringify(body));
  const [response] = (await once(asking, "response")) as [IncomingMessage];
  response.destroy();
  return response;
}

async function sent(manager: ManagerUnderTest): Promise<Receipt[]> {
  return (await manager.get<{ receipts: Receipt[] }>("/v1/vms/web1/messages")).body.receipts;
}

async function sceneWithoutAgent(): Promise<Scene> {
  const web = await Scene.start();
  await web.agent.kill();
  return web;
}

const waiting = { waitFor: "delivered", waitMs: 60_000 };

test("a retry after the connection was cut is the same message", async () => {
  const web = await sceneWithoutAgent();
  const path = "/v1/vms/web1/messages";
  await sendAndBeCutOff(web.manager, path, { ...message, ...waiting }, "/v1/vms/web1");
  expect(await web.send(message)).toMatchObject({ messageId: "mine-1", state: "queued" });
  expect(await sent(web.manager)).toHaveLength(1);
  await web.agent.start();
  await web.manager.untilReceipt("mine-1", "delivered");
  expect(await web.agent.history()).toEqual(historyAfter([message]));
});

test("a retry after the manager was killed before it answered is the same message", async () => {
  const web = await sceneWithoutAgent();
  const path = "/v1/vms/web1/messages";
  await sendAndBeCutOff(web.manager, path, { ...message, ...waiting }, "/v1/vms/web1");
  await web.restartManager();
  await web.send(message);
  await web.agent.start();
  await web.manager.untilReceipt("mine-1", "delivered");
  expect(await web.send(message)).toMatchObject({ state: "delivered", result: { revision: 1 } });
  expect(await sent(web.manager)).toHaveLength(1);
  expect(await web.agent.history()).toEqual(historyAfter([message]));
});

test("a fleet's message that is sent again is the same message of each VM", async () => {
  const web = await sceneWithoutAgent();
  for (const messageId of ["mine-1", "mine-1", "mine-2"]) {
    const { params, ...request } = message;
    const body = { vms: { all: true }, request: { ...request, params: { ...params, messageId } } };
    const { statusCode } = await answerTo(web.manager, "/v1/fleet", body);
    expect(statusCode).toBe(200);
    await web.restartManager();
  }
  expect(await sent(web.manager)).toHaveLength(2);
  await web.agent.start();
  await vi.waitFor(async () => {
    expect((await web.manager.vm("web1")).pending).toBe(0);
  }, SOON);
  expect(await web.agent.history()).toHaveLength(3);
});

test("many retries at once are one message", async () => {
  const web = await Scene.start();
  const receipts = await Promise.all(Array.from({ length: 20 }, () => web.manager.send("web1", message)));
  expect(new Set(receipts.map(({ messageId }) => messageId))).toEqual(new Set(["mine-1"]));
  await web.manager.untilReceipt("mine-1", "delivered");
  expect(await sent(web.manager)).toHaveLength(1);
  expect((await web.manager.vm("web1")).pending).toBe(0);
  expect(await web.agent.history()).toEqual(historyAfter([message]));
});
