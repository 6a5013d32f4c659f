/** A guest whose past is not what the manager knew: restarted, booted, gone back to an earlier disk, cloned. */
import { get } from "node:http";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createParser } from "eventsource-parser";
import type { ChangedBatch, KeyList, ReceivedMessage } from "../../../../shared/api/schemas.ts";
import type { ManagerUnderTest } from "../../support/managers.ts";
import type { SentMessage } from "./expected-history.ts";
import { Scene, SOON } from "./scene.ts";

const set = (messageId: string, value: string, secret = false): SentMessage => {
  return { method: "set", params: { messageId, entries: [{ key: "step", value, secret }] } };
};

/** Of the last greeting that the log tells of, or undefined when it told of none but the first. */
async function lastFindings(manager: ManagerUnderTest): Promise<unknown> {
  return (await manager.logged("greeted")).slice(1).at(-1)?.["findings"];
}

function untilFindings(manager: ManagerUnderTest, findings: string[]): Promise<void> {
  return vi.waitFor(async () => {
    expect(await lastFindings(manager)).toEqual(findings);
  }, SOON);
}

/** The batches that a watcher of all keys is told. */
function watch({ socketPath }: ManagerUnderTest): ChangedBatch[] {
  const batches: ChangedBatch[] = [];
  const parser = createParser({
    onEvent: ({ event, data }) => {
      if (event === "changed") batches.push(JSON.parse(data) as ChangedBatch);
    },
  });
  const asking = get({ socketPath, path: "/v1/vms/web1/watch" }, (response) => {
    response.setEncoding("utf8").on("data", (text: string) => {
      parser.feed(text);
    });
    response.on("error", () => undefined);
  });
  asking.on("error", () => undefined);
  onTestFinished(() => {
    asking.destroy();
  });
  return batches;
}

/** The last snapshot, and what came after it, say that the key has this value, or is not there. */
function untilWatched(batches: ChangedBatch[], resyncs: number, value: string | undefined): Promise<void> {
  return vi.waitFor(() => {
    expect(batches.filter(({ resync }) => resync)).toHaveLength(resyncs);
    const known = batches.slice(batches.findLastIndex(({ resync }) => resync));
    const told = known.flatMap(({ changes }) => changes).findLast(({ key }) => key === "step");
    expect(told === undefined || !("value" in told) ? undefined : told.value).toBe(value);
  }, SOON);
}

async function keys(manager: ManagerUnderTest): Promise<string[]> {
  return (await manager.get<KeyList>("/v1/vms/web1/keys")).body.entries.map(({ key }) => key);
}

describe("the manager notices and logs, and its watchers are told anew, that an agent", () => {
  test("was restarted", async () => {
    const web = await Scene.start();
    await web.deliver(set("one", "1"));
    const batches = watch(web.manager);
    await untilWatched(batches, 1, "1");
    await web.restartAgent();
    await untilFindings(web.manager, ["agent-restarted"]);
    await untilWatched(batches, 2, "1");
  });

  test("came back with a boot of its machine", async () => {
    const web = await Scene.start();
    await web.deliver(set("one", "hidden", true));
    const batches = watch(web.manager);
    await web.agent.kill();
    await web.agent.become({ bootId: "33333333-3333-4333-8333-333333333333" });
    await web.agent.start();
    await untilFindings(web.manager, ["rebooted"]);
    await untilWatched(batches, 2, undefined);
    await vi.waitFor(async () => {
      const { body } = await web.manager.get<{ received: ReceivedMessage[] }>("/v1/vms/web1/received");
      expect(body.received).toMatchObject([{ kind: "event", name: "SECRETS.LOST", data: { keys: ["step"] } }]);
    }, SOON);
  });

  test("went back to an earlier disk", async () => {
    const web = await Scene.start();
    await web.deliver(set("one", "1"));
    const snapshot = await web.agent.snapshot();
    await web.deliver(set("two", "2"));
    await web.deliver(set("three", "3"));
    const batches = watch(web.manager);
    await untilWatched(batches, 1, "3");
    await web.agent.kill();
    await snapshot.restore();
    await web.agent.start();
    await untilFindings(web.manager, ["agent-restarted", "fresh-cache"]);
    await untilWatched(batches, 2, "1");
  });

  test("is a clone", async () => {
    const web = await Scene.start();
    await web.deliver(set("one", "1"));
    const batches = watch(web.manager);
    await untilWatched(batches, 1, "1");
    await web.agent.kill();
    await web.agent.become({
      uuid: "44444444-4444-4444-8444-444444444444",
      bootId: "33333333-3333-4333-8333-333333333333",
    });
    await web.agent.start();
    await untilFindings(web.manager, ["cloned", "rebooted", "fresh-cache"]);
    await untilWatched(batches, 2, undefined);
    expect(await keys(web.manager)).toEqual([]);
    const [greeted] = (await web.manager.logged("greeted")).slice(-1);
    expect(greeted).toMatchObject({ clonedFrom: "11111111-1111-4111-8111-111111111111" });
  });
});

test("what an earlier disk took back is not delivered again, and what waits is", async () => {
  const web = await Scene.start();
  const empty = await web.agent.snapshot();
  await web.deliver(set("one", "1"));
  await web.agent.kill();
  await web.send({ method: "set", params: { messageId: "two", entries: [{ key: "next", value: "2" }] } });
  await empty.restore();
  await web.agent.start();
  expect(await web.manager.untilReceipt("two", "delivered")).toMatchObject({ result: { revision: 1 } });
  expect(await keys(web.manager)).toEqual(["next"]);
  expect(await web.manager.receipt("one")).toMatchObject({ state: "delivered", result: { revision: 1 } });
  expect(web.relay.attempts("one")).toBe(1);
});

test("a guest that went back while the manager was away is noticed when it returns", async () => {
  const web = await Scene.start();
  await web.deliver(set("one", "1"));
  const snapshot = await web.agent.snapshot();
  await web.deliver(set("two", "2"));
  await web.deliver(set("three", "3"));
  await web.manager.kill("SIGTERM");
  await web.agent.kill();
  await snapshot.restore();
  await web.agent.start();
  await web.manager.start();
  await untilFindings(web.manager, ["agent-restarted", "fresh-cache"]);
  await vi.waitFor(async () => {
    const { body } = await web.manager.get<KeyList>("/v1/vms/web1/keys");
    expect(body).toMatchObject({ from: "guest", entries: [{ key: "step", value: "1" }] });
  }, SOON);
});
