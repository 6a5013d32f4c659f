import { expect, test, vi } from "vitest";
import { CommandError } from "../../../../shared/cli/failure.ts";
import type { WatchEvent } from "../../../../manager/service/service.ts";
import { ApiUnderTest } from "./http.ts";
import { cursorAt, imageSave } from "./scripted-events.ts";
import { aborted, changed, EPOCH, untilAborted, web } from "./scripted-service.ts";

const watch = "GET /v1/vms/web/watch HTTP/1.1\r\nHost: m\r\n\r\n";

/** A watch that says these and ends. */
function saying(...events: WatchEvent[]) {
  return async function* () {
    await Promise.resolve();
    yield* events;
  };
}

/** What a browser's EventSource would see. */
function eventsIn(body: string): { event: string | undefined; id: string | undefined; data: unknown }[] {
  const blocks = body.split("\n\n").filter((block) => block.startsWith("event: "));
  return blocks.map((block) => {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
    return { event: field("event"), id: field("id"), data: JSON.parse(field("data") ?? "null") as unknown };
  });
}

test("a watch is a stream of events, of which the last of a change can be resumed from", async () => {
  await using api = await ApiUnderTest.start();
  const batches = [changed(1, { more: true }), changed(2)];
  api.service.watch = saying(...batches, { type: "link", vm: web });
  const { status, headers, body } = await api.curl("/v1/vms/web/watch?prefix=a");
  expect({ status, type: headers["content-type"], cache: headers["cache-control"] }).toEqual({
    status: 200,
    type: ["text/event-stream"],
    cache: ["no-store"],
  });
  expect(headers).not.toHaveProperty("content-encoding");
  expect(eventsIn(body)).toMatchObject([
    { event: "changed", id: undefined, data: { revision: 1, more: true } },
    { event: "changed", id: `${EPOCH}:2`, data: { revision: 2, more: false } },
    { event: "link", id: undefined, data: { name: "web" } },
  ]);
  expect(api.service.asked[0]?.arguments).toEqual(["web", { prefix: "a", since: undefined }]);
});

test.for([
  ["the query", "?since=00112233445566aa:7", []],
  ["Last-Event-ID", "", ["-H", "Last-Event-ID: 00112233445566aa:7"]],
  ["Last-Event-ID before the query", "?since=00112233445566aa:1", ["-H", "Last-Event-ID: 00112233445566aa:7"]],
  ["the query before an empty Last-Event-ID", "?since=00112233445566aa:7", ["-H", "Last-Event-ID;"]],
] as const)("a watch is resumed from %s", async ([, query, options]) => {
  await using api = await ApiUnderTest.start();
  api.service.watch = saying(changed(8));
  await api.curl(`/v1/vms/web/watch${query}`, ...options);
  expect(api.service.asked[0]?.arguments).toEqual(["web", { prefix: "", since: { epoch: EPOCH, revision: 7 } }]);
});

test("a Last-Event-ID that is none is refused", async () => {
  await using api = await ApiUnderTest.start();
  const { status, json } = await api.curl("/v1/vms/web/watch", "-H", "Last-Event-ID: 7");
  expect({ status, json }).toMatchObject({ status: 400, json: { code: "usage" } });
});

test("an error before the first event has a status, one after it is an event", async () => {
  await using api = await ApiUnderTest.start();
  expect(await api.curl("/v1/vms/nope/watch")).toMatchObject({ status: 404, json: { code: "failed" } });
  api.service.watch = async function* () {
    await Promise.resolve();
    yield changed(1);
    throw new CommandError("unreachable", "the guest left", { epoch: EPOCH });
  };
  const { status, body } = await api.curl("/v1/vms/web/watch");
  expect(status).toBe(200);
  const problem = { status: 503, code: "unreachable", detail: "the guest left", details: { epoch: EPOCH } };
  expect(eventsIn(body)).toMatchObject([{ event: "changed" }, { event: "error", data: problem }]);
});

test("a bug in the middle of a stream is told in the log, not to the client", async () => {
  await using api = await ApiUnderTest.start();
  api.service.watch = async function* () {
    await Promise.resolve();
    yield changed(1);
    throw new TypeError("undefined is not a secret");
  };
  const { body } = await api.curl("/v1/vms/web/watch");
  expect(eventsIn(body)).toMatchObject([{ event: "changed" }, { event: "error", data: { status: 500 } }]);
  expect(body).not.toContain("undefined is not");
  expect(api.log.lines.filter(({ event }) => event === "stream-failed")).toHaveLength(1);
});

test("an event that is not as the schema says never reaches the client, nor can it forge another", async () => {
  await using api = await ApiUnderTest.start();
  const forged = changed(2);
  if (forged.type === "changed") forged.batch.epoch = "x\n\nevent: forged\ndata: {}\n\n";
  api.service.watch = saying(changed(1, { value: "a\n\nevent: forged\n\n" }), forged);
  const { body } = await api.curl("/v1/vms/web/watch");
  expect(eventsIn(body).map(({ event }) => event)).toEqual(["changed", "error"]);
});

test("a stream that has nothing to say says a comment from time to time", async () => {
  await using api = await ApiUnderTest.start({ limits: { streamKeepAliveMs: 30 } });
  using client = await api.connect(watch);
  await vi.waitUntil(() => client.received.split("\n:\n\n").length > 3);
  expect(client.received).toContain("event: changed");
});

test("a watch outlives the limits on receiving a request", async () => {
  const limits = { headersMs: 50, requestMs: 50, idleConnectionMs: 50, checkIntervalMs: 20, streamKeepAliveMs: 30 };
  await using api = await ApiUnderTest.start({ limits });
  using client = await api.connect(watch);
  await vi.waitUntil(() => client.received.split("\n:\n\n").length > 10);
  expect(client.isEnded).toBe(false);
});

test("a reader that stalls takes no more memory, and is cut off", async () => {
  await using api = await ApiUnderTest.start({ limits: { stalledReaderMs: 500, streamKeepAliveMs: 100 } });
  let said = 0;
  const value = "x".repeat(30_000);
  api.service.watch = async function* () {
    for (;;) {
      await Promise.resolve();
      said += 1;
      yield changed(said, { value });
    }
  };
  using client = await api.connect(watch);
  client.socket.pause();
  await vi.waitUntil(() => api.service.signals[0]?.aborted, { timeout: 10_000 });
  // What the kernel's socket buffers hold, and a few in between: far from what half a second could have made.
  expect(said).toBeLessThan(100);
  expect(said).toBeGreaterThan(2);
});

test("a reader that reads again gets what comes next", async () => {
  await using api = await ApiUnderTest.start();
  const last = 300;
  api.service.watch = async function* () {
    for (let revision = 1; revision <= last; revision += 1) {
      await Promise.resolve();
      yield changed(revision, { value: "x".repeat(10_000) });
    }
  };
  using client = await api.connect("");
  client.socket.pause();
  client.socket.write(watch);
  await vi.waitUntil(() => api.service.signals.length === 1);
  client.socket.resume();
  await vi.waitUntil(() => client.received.includes(`id: ${EPOCH}:${last}\n`));
  expect(client.received.match(/^event: changed$/gm)).toHaveLength(last);
});

test("a watcher that goes away ends the watch", async () => {
  await using api = await ApiUnderTest.start();
  using client = await api.connect(watch);
  await vi.waitUntil(() => client.received.includes("event: changed"));
  client.socket.destroy();
  await vi.waitUntil(() => api.service.signals[0]?.aborted);
});

test("streams of one principal are limited, and a closed one makes room", async () => {
  await using api = await ApiUnderTest.start({ limits: { streamsPerPrincipal: 2 } });
  using first = await api.connect(watch);
  using second = await api.connect(watch);
  await vi.waitUntil(() => [first, second].every(({ received }) => received.includes("event: changed")));
  const refused = await api.curl("/v1/vms/web/watch");
  expect(refused).toMatchObject({ status: 429, json: { code: "over-limit" } });
  api.service.watch = saying(changed(1));
  const other = await api.curl("/v1/vms/web/watch", "-H", "Authorization: Bearer vmm_good");
  expect(other).toMatchObject({ status: 200 });
  first.socket.destroy();
  await vi.waitUntil(async () => (await api.curl("/v1/vms/web/watch")).status === 200);
});

test("streams that failed or ended do not count", async () => {
  await using api = await ApiUnderTest.start({ limits: { streamsPerPrincipal: 1 } });
  for (let round = 0; round < 3; round += 1) {
    expect(await api.curl("/v1/vms/nope/watch")).toMatchObject({ status: 404 });
    api.service.watch = saying(changed(1));
    expect(await api.curl("/v1/vms/web/watch")).toMatchObject({ status: 200 });
  }
});

test("a manager that closes ends a watch with the reason to come back", async () => {
  await using api = await ApiUnderTest.start();
  api.service.watch = untilAborted;
  using client = await api.connect(watch);
  await vi.waitUntil(() => client.received.includes("event: changed"));
  await api.server.close();
  await vi.waitUntil(() => client.isEnded);
  expect(client.received).toContain("event: error");
  expect(client.received).toContain("the manager stops; try again");
});

test("garbage in the middle of a stream is no answer in the stream", async () => {
  await using api = await ApiUnderTest.start();
  using client = await api.connect(watch);
  await vi.waitUntil(() => client.received.includes("event: changed"));
  client.socket.write("\u0000garbage\r\n\r\n");
  await vi.waitUntil(() => client.isEnded);
  expect(client.received).not.toContain("400 Bad Request");
});

test("a fleet's call is a stream: how many, each result, the summary", async () => {
  await using api = await ApiUnderTest.start();
  const request = { vms: { names: ["web*"] }, request: { method: "ping" } };
  const { status, body } = await api.post("/v1/fleet", request);
  expect(status).toBe(200);
  expect(eventsIn(body)).toMatchObject([
    { event: "begin", data: { vms: 1 } },
    { event: "result", data: { vm: { name: "web" }, receipt: { messageId: "m1" } } },
    { event: "summary", data: { vms: 1, done: 1, queued: 0, failed: 0 } },
  ]);
  expect(api.service.asked[0]?.arguments).toEqual([request]);
});

test("a client that leaves in the middle of a fleet's call stops it", async () => {
  await using api = await ApiUnderTest.start();
  const stopped = Promise.withResolvers<undefined>();
  api.service.fleet = async function* (_who, _request, signal) {
    yield { type: "begin", vms: 2 };
    await aborted(signal);
    stopped.resolve(undefined);
  };
  const body = JSON.stringify({ vms: { all: true }, request: { method: "ping" } });
  const head = `POST /v1/fleet HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  using client = await api.connect(`${head}\r\n\r\n${body}`);
  await vi.waitUntil(() => client.received.includes("event: begin"));
  client.socket.destroy();
  await stopped.promise;
});

const follow = "GET /v1/events/stream HTTP/1.1\r\nHost: m\r\n\r\n";

test("a stream of events says at once where it begins, and each event says where it is", async () => {
  await using api = await ApiUnderTest.start();
  api.service.events.append({}, {});
  using client = await api.connect(follow);
  await vi.waitUntil(() => client.received.includes("event: position"));
  api.service.events.append({ type: "VM.RUNNING" });
  await vi.waitUntil(() => client.received.includes("event: event"));
  expect(client.received).toContain(`event: position\nid: ${cursorAt(2)}\ndata: {"next":"${cursorAt(2)}"}`);
  expect(client.received).toMatch(new RegExp(`event: event\nid: ${cursorAt(3)}\ndata: .*"type":"VM.RUNNING"`));
});

test.for([
  ["the query", `?since=${cursorAt(1)}`, []],
  ["Last-Event-ID before the query", `?since=${cursorAt(0)}`, ["-H", `Last-Event-ID: ${cursorAt(1)}`]],
  ["the query before an empty Last-Event-ID", `?since=${cursorAt(1)}`, ["-H", "Last-Event-ID;"]],
] as const)("a stream of events is resumed from %s", async ([, query, options]) => {
  await using api = await ApiUnderTest.start();
  api.service.events.append({}, {}, {});
  const { body } = await api.curl(`/v1/events/stream${query}`, ...options, "--max-time", "1");
  expect(eventsIn(body)).toMatchObject([
    { event: "position", id: cursorAt(1) },
    { event: "event", id: cursorAt(2) },
    { event: "event", id: cursorAt(3) },
  ]);
});

test("a reader of events that were not kept is told so, and where it goes on", async () => {
  await using api = await ApiUnderTest.start();
  api.service.events.append({}, {}, {});
  api.service.events.first = 3;
  const { body } = await api.curl(`/v1/events/stream?since=${cursorAt(0)}`, "--max-time", "1");
  expect(eventsIn(body)).toMatchObject([
    { event: "position", id: cursorAt(0) },
    { event: "missed", id: cursorAt(2), data: { next: cursorAt(2) } },
    { event: "event", id: cursorAt(3) },
  ]);
});

test("a cursor of another log has a status, and a Last-Event-ID that is none too", async () => {
  await using api = await ApiUnderTest.start();
  const stream = (id: string) => api.curl("/v1/events/stream", "-H", `Last-Event-ID: ${id}`);
  expect(await stream(`${"f".repeat(16)}:1`)).toMatchObject({ status: 409, json: { code: "conflict" } });
  expect(await stream("7")).toMatchObject({ status: 400, json: { code: "usage" } });
});

test("a reader of events that goes away ends the stream", async () => {
  await using api = await ApiUnderTest.start();
  using client = await api.connect(follow);
  await vi.waitUntil(() => client.received.includes("event: position"));
  client.socket.destroy();
  await vi.waitUntil(() => api.service.events.signals[0]?.aborted);
});

test("the saving of an image is followed to its end", async () => {
  await using api = await ApiUnderTest.start();
  api.service.images.changes = [{ state: "saving", progress: 50 }, { state: "done" }];
  const { body } = await api.curl(`/v1/image-saves/${imageSave.id}/stream`);
  expect(eventsIn(body).map(({ data }) => (data as { state: string }).state)).toEqual(["waiting", "saving", "done"]);
  expect(await api.curl("/v1/image-saves/nope/stream")).toMatchObject({ status: 404 });
});
