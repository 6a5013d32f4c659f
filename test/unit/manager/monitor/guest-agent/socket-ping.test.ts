import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { pingSocket } from "../../../../../manager/monitor/guest-agent/socket-ping.ts";
import type { Probe } from "../../../../../manager/monitor/probe.ts";
import type { Holder } from "../../../../../shared/channel-holder.ts";
import type { Channel } from "../../../../../shared/channel.ts";
import { memoryChannels } from "../../../../../shared/channels/memory.ts";

const TIMEOUT_MS = 2_000;
const NEVER = new AbortController().signal;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

interface Script {
  /** What qemu-ga does with the question. */
  asked?: (id: number, channel: Channel) => Promise<void>;
  /** Who is found to be served, and when. */
  holder?: () => Promise<Holder | undefined>;
  signal?: AbortSignal;
}

/** A ping of a scripted qemu-ga, and how many milliseconds it took. */
async function ping({ asked, holder, signal = NEVER }: Script): Promise<Probe & { tookMs: number }> {
  const [ours, theirs] = memoryChannels();
  void attend(theirs, asked);
  const startedAt = performance.now();
  let tookMs = NaN;
  const probing = pingSocket("/run/qga.sock", {
    timeoutMs: TIMEOUT_MS,
    signal,
    connect: () => Promise.resolve(ours),
    holderOf: holder ?? (() => Promise.resolve(undefined)),
  }).finally(() => {
    tookMs = performance.now() - startedAt;
  });
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS + 1);
  const probe = await probing;
  await expect(ours.write(Buffer.of(0))).rejects.toThrow("closed");
  expect(vi.getTimerCount()).toBe(0);
  return { ...probe, tookMs };
}

async function attend(channel: Channel, asked: Script["asked"]): Promise<void> {
  for await (const bytes of channel.incoming) {
    const [, id = ""] = /"id":(\d+)/.exec(Buffer.from(bytes).toString()) ?? [];
    await asked?.(Number(id), channel);
  }
}

function answerTo(id: number): Buffer {
  return Buffer.concat([Buffer.of(0xff), Buffer.from(`{"return": ${id}}\n`)]);
}

it("an answer with our number is one, at once", async () => {
  expect(await ping({ asked: (id, channel) => channel.write(answerTo(id)) })).toEqual({ type: "answered", tookMs: 0 });
});

it("an answer counts to the last moment, also one on which somebody waits behind us", async () => {
  const asked: Script["asked"] = async (id, channel) => {
    await new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS - 1));
    await channel.write(answerTo(id));
  };
  expect(await ping({ asked })).toMatchObject({ type: "answered", tookMs: TIMEOUT_MS - 1 });
});

it("silence to the end is a miss", async () => {
  const { type, tookMs } = await ping({});
  expect(type).toBe("missed");
  expect(tookMs).toBeLessThanOrEqual(TIMEOUT_MS + 1);
});

it("answers to others are as good as silence", async () => {
  const asked: Script["asked"] = (id, channel) => channel.write(answerTo(id - 1));
  expect(await ping({ asked })).toMatchObject({ type: "missed" });
});

it("while another client is served, nothing is known, and that soon", async () => {
  const probe = await ping({ holder: () => Promise.resolve({ pid: 4711, command: "backup" }) });
  expect(probe).toEqual({ type: "unknown", reason: "backup (pid 4711) has its socket", tookMs: TIMEOUT_MS / 4 });
});

it("a holder with an endless name is told of shortly", async () => {
  const probe = await ping({ holder: () => Promise.resolve({ pid: 1, command: "x".repeat(10_000) }) });
  expect(JSON.stringify(probe).length).toBeLessThan(300);
});

it("as long as it is not known who is served, silence is no miss", async () => {
  expect(await ping({ holder: () => Promise.withResolvers<undefined>().promise })).toMatchObject({
    type: "unknown",
    reason: "it is not known in time whether another client has its socket",
  });
});

it("a socket that is closed says nothing of the guest", async () => {
  expect(await ping({ asked: (_, channel) => channel.close() })).toMatchObject({
    type: "unknown",
    reason: "QEMU closed its socket",
  });
});

it("what speaks for ever is left after a megabyte", async () => {
  const asked: Script["asked"] = async (_, channel) => {
    for (let count = 0; count < 20; count += 1) await channel.write(Buffer.alloc(100_000, 0xff));
  };
  expect(await ping({ asked })).toMatchObject({ type: "unknown", reason: "what speaks on its socket is not qemu-ga" });
});

it("a ping that is broken off says nothing", async () => {
  const stop = new AbortController();
  setTimeout(() => {
    stop.abort();
  }, 100);
  expect(await ping({ signal: stop.signal })).toMatchObject({ type: "unknown", tookMs: 100 });
});

it("a time-out that comes late says that this host is busy", async () => {
  const [ours] = memoryChannels();
  const probing = pingSocket("/run/qga.sock", {
    timeoutMs: TIMEOUT_MS,
    signal: NEVER,
    connect: () => Promise.resolve(ours),
    holderOf: () => Promise.resolve(undefined),
  });
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS - 1);
  const now = performance.now();
  vi.spyOn(performance, "now").mockReturnValue(now + 10_000);
  await vi.advanceTimersByTimeAsync(2);
  vi.restoreAllMocks();
  expect(await probing).toEqual({ type: "unknown", reason: "this host is too busy to tell" });
});

it.each([
  ["ENOENT", "QEMU does not listen on its socket"],
  ["ECONNREFUSED", "QEMU does not listen on its socket"],
  ["EAGAIN", "other clients wait for its socket"],
  ["EACCES", "not permitted to open its socket"],
  ["EIO", "cannot connect to its socket: Error: it failed"],
])("%s while connecting: %s", async (code, reason) => {
  const connect = () => Promise.reject(Object.assign(new Error("it failed"), { code }));
  const probe = await pingSocket("/run/qga.sock", { timeoutMs: TIMEOUT_MS, signal: NEVER, connect });
  expect(probe).toEqual({ type: "unknown", reason });
});
