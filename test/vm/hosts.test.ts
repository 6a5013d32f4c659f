// Hosts that come, go, say nonsense, do not read, or want the channel at the same time.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encodeFrame, FrameDecoder } from "../../shared/protocol/frame.ts";
import { MAX_PAYLOAD } from "../../shared/protocol/limits.ts";
import { newNonce } from "../../shared/random.ts";
import { OpenerSession } from "../../shared/protocol/session.ts";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { agentSays, vmmessage } from "./support/programs.ts";

/** USER_HZ, the unit of /proc/PID/stat. */
const ticksPerSecond = 100;

let snapshot: Snapshot;
let guest: Guest;

beforeAll(async () => {
  snapshot = await saveGuestWithAgent();
});
afterAll(() => snapshot.remove());

beforeEach(async () => {
  guest = await restoreSnapshot(snapshot);
  return () => guest.stop();
});

describe("a host that leaves", () => {
  test("in the middle of a frame, at any byte of it, is followed by one that is served", async () => {
    const frame = setFrame("cut", "short");
    for (const length of [1, 9, 10, 30, frame.length - 2, frame.length - 1]) {
      const leaving = await connectRaw();
      leaving.write(helloFrame());
      await once(leaving, "data");
      leaving.write(frame.subarray(0, length));
      await expectGone(leaving);
      await expectServed(`after ${length} bytes`);
    }
    expect(await agentSays(guest, ["-l"])).not.toContain("cut");
  });

  test("is followed without an end of file by one that waited behind it, half a frame or not", async () => {
    for (const last of [Buffer.alloc(0), setFrame("half", "a frame").subarray(0, 40)]) {
      const first = await connectRaw();
      first.write(helloFrame());
      await once(first, "data");
      await using second = await Host.connect(guest.channelPath);
      const greeted = second.hello();
      first.write(last);
      first.destroy();
      await greeted;
      await second.set("second", "served");
      expect(await second.keys()).toEqual({ second: "served" });
    }
  });

  test("before it has read its answers does not hand them to the next", async () => {
    const first = await connectRaw();
    first.write(helloFrame());
    await once(first, "data");
    for (let count = 0; count < 50; count++) first.write(encodeFrame({ jsonrpc: "2.0", id: "hx.1", method: "list" }));
    first.destroy();
    const second = await connectRaw();
    const session = new OpenerSession({ role: "host", software: "test", makeNonce: newNonce });
    const hello = session.hello();
    second.write(hello.bytes);
    const ids: unknown[] = [];
    const decoder = new FrameDecoder();
    second.on("data", (chunk: Buffer) => {
      for (const event of decoder.push(chunk)) {
        if (event.type === "payload") ids.push((JSON.parse(event.text) as { id?: string }).id);
      }
    });
    await waitFor("the answer to the hello", () => ids.includes(hello.id));
    expect(decoder.damagedFrames).toBe(0);
    await expectGone(second);
  });

  test("and comes back twenty times in a row is served each time", async () => {
    for (let count = 1; count <= 20; count++) {
      await using host = await Host.connect(guest.channelPath);
      expect((await host.set("count", String(count))).revision).toBe(count);
    }
  });
});

describe("nonsense", () => {
  const nonsense: Record<string, () => Buffer> = {
    "random bytes": () => randomBytes(100_000),
    "a frame whose end never comes": () => Buffer.concat([Buffer.from([0x1e]), Buffer.alloc(MAX_PAYLOAD * 2, "a")]),
    "a thousand starts of frames": () => Buffer.alloc(1000, 0x1e),
    "a frame with a bad checksum": () => Buffer.from('\x1e00000000 {"jsonrpc":"2.0"}\n'),
    "half a frame and the start of another": () => Buffer.concat([setFrame("a", "b").subarray(0, 50), Buffer.of(0x1e)]),
  };
  for (const [name, make] of Object.entries(nonsense)) {
    test(`such as ${name} is dropped and counted, and a sound hello after it answered`, async () => {
      const host = await connectRaw();
      host.write(make());
      const session = new OpenerSession({ role: "host", software: "test", makeNonce: newNonce });
      const hello = session.hello();
      host.write(hello.bytes);
      const isAnswered = receivesAnswer(host, hello.id);
      await waitFor("the answer to the hello", isAnswered, { timeoutMs: 60_000 });
      await expectGone(host);
      await using next = await Host.connect(guest.channelPath);
      expect((await next.client.read("info", {})).damagedFrames).toBeGreaterThan(0);
      await next.set("still", "well");
    });
  }
});

describe("a channel that is held", () => {
  test("makes vmmessage exit with 12 and name the holder, and serves it when the holder has left", async () => {
    await using holder = await Host.connect(guest.channelPath);
    await holder.hello();
    const { exitCode, stderr } = await vmmessage(guest, ["-q", "key", "--timeout", "3"]);
    expect(exitCode).toBe(12);
    const [, heldBy] =
      /^vmmessage: the channel of 'web1' is held by \S*node\b.* \(pid (\d+)\), and it serves one/.exec(stderr) ?? [];
    expect(Number(heldBy)).toBe(process.pid);
    await holder.client.close();
    expect(await vmmessage(guest, ["-k", "key", "-V", "value"])).toMatchObject({ exitCode: 0 });
  });
});

describe("a host that asks and never reads", () => {
  test("hinders neither the programs in the guest nor the next host", async () => {
    await agentSays(guest, ["-p", `large=${"x".repeat(4000)}`]);
    const session = new OpenerSession({ role: "host", software: "test", makeNonce: newNonce });
    const deaf = await connectRaw();
    deaf.pause();
    deaf.write(session.hello().bytes);
    // The answers are more than the port's buffers and the socket's take.
    const requests = Array.from({ length: 1000 }, () => encodeFrame(request(session)));
    deaf.write(Buffer.concat(requests));
    await waitFor("an agent that lets the answers wait", async () => (await agentsShareOfTime()) < 0.1);
    await agentSays(guest, ["-p", "count=5"]);
    expect(await agentSays(guest, ["-g", "count"])).toBe("5");
    await expectGone(deaf);
    await using next = await Host.connect(guest.channelPath);
    expect(await next.keys()).toMatchObject({ count: "5" });
  });

  /** Of one processor, over a second. */
  async function agentsShareOfTime(): Promise<number> {
    const cpuTicks = "cut -d' ' -f14-15 /proc/$(cat /run/agent.pid)/stat";
    const text = await guest.shell(`${cpuTicks}; cat /proc/uptime; sleep 1; ${cpuTicks}; cat /proc/uptime`);
    const [before = [], begin = [], after = [], end = []] = text.split("\n").map((line) => line.split(" ").map(Number));
    const ticks = after.reduce((sum, count) => sum + count, 0) - before.reduce((sum, count) => sum + count, 0);
    return ticks / ticksPerSecond / ((end[0] ?? 0) - (begin[0] ?? 0));
  }

  function request(session: OpenerSession): object {
    return { jsonrpc: "2.0", id: `h${session.session ?? ""}.2`, method: "get", params: { key: "large" } };
  }
});

async function connectRaw(): Promise<Socket> {
  const socket = connect(guest.channelPath);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

async function expectGone(socket: Socket): Promise<void> {
  // Not destroy() at once: what was written has to get into the kernel's hands first.
  await waitFor("the end of writing", () => socket.writableLength === 0 || socket.isPaused());
  socket.destroy();
}

async function expectServed(value: string): Promise<void> {
  await using host = await Host.connect(guest.channelPath);
  await host.set("served", value);
  expect((await host.get("served")).value).toBe(value);
}

function helloFrame(): Buffer {
  return new OpenerSession({ role: "host", software: "test", makeNonce: newNonce }).hello().bytes;
}

/** Sound, but of no open session. */
function setFrame(key: string, value: string): Buffer {
  const params = { messageId: "cut", entries: [{ key, value }] };
  return encodeFrame({ jsonrpc: "2.0", id: `h${newNonce()}.1`, method: "set", params });
}

function receivesAnswer(socket: Socket, id: string): () => boolean {
  const decoder = new FrameDecoder();
  let isAnswered = false;
  socket.on("data", (chunk: Buffer) => {
    for (const event of decoder.push(chunk))
      if (event.type === "payload") isAnswered ||= event.text.includes(`"${id}"`);
  });
  return () => isAnswered;
}
