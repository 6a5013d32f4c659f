import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Channel } from "../../shared/channel.ts";
import { type Disturbance, memoryChannels } from "../../shared/channels/memory.ts";
import { NoAnswerError, Peer, type PeerEvents } from "../../shared/peer.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import { encodeFrame } from "../../shared/protocol/frame.ts";
import { MAX_PAYLOAD } from "../../shared/protocol/limits.ts";
import { GuestSession, OpenerSession } from "../../shared/protocol/session.ts";
import { AGENT_NONCE, EPOCH, FACTS, nonces } from "./protocol/sessions.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

interface Joined {
  host: Peer<OpenerSession>;
  guest: Peer<GuestSession>;
  ends: [Promise<void>, Promise<void>];
}

const nobody: PeerEvents = { answer: () => new Promise(() => undefined) };

function joinedPeers(
  options: {
    host?: Partial<PeerEvents>;
    guest?: Partial<PeerEvents>;
    toGuest?: Disturbance;
    toHost?: Disturbance;
  } = {},
): Joined {
  const [left, right] = memoryChannels({ left: options.toGuest ?? {}, right: options.toHost ?? {} });
  const opener = new OpenerSession({ role: "host", software: "example 1.0", makeNonce: nonces() });
  const accepting = new GuestSession({ role: "host", agentNonce: AGENT_NONCE, onHello: () => FACTS });
  const host = new Peer(opener, left, { ...nobody, ...options.host });
  const guest = new Peer(accepting, right, { ...nobody, ...options.guest });
  return { host, guest, ends: [host.run(), guest.run()] };
}

async function greetedPeers(...parameters: Parameters<typeof joinedPeers>): Promise<Joined> {
  const joined = joinedPeers(...parameters);
  await joined.host.ask(joined.host.session.hello(), "hello", 1000);
  return joined;
}

async function allArrived(): Promise<void> {
  await vi.advanceTimersByTimeAsync(1);
}

function pings(count: number): Buffer {
  const frames = Array.from({ length: count }, (_, index) => {
    return encodeFrame({ jsonrpc: "2.0", id: `h1111111111111111.${index + 2}`, method: "ping", params: {} });
  });
  return Buffer.concat(frames);
}

describe("a request", () => {
  it("is answered with what the other side's handler gives", async () => {
    const { host } = await greetedPeers({ guest: { answer: () => Promise.resolve({ uptimeMs: 5 }) } });
    await expect(host.request("ping", {}, 1000)).resolves.toEqual({ uptimeMs: 5 });
  });

  it("is refused with the handler's RequestError", async () => {
    const answer = (): Promise<never> => Promise.reject(new RequestError("conflict", "no", { revision: 3 }));
    const { host } = await greetedPeers({ guest: { answer } });
    const refused = host.request("clear", { messageId: "m" }, 1000);
    await expect(refused).rejects.toMatchObject({ code: "conflict", details: { revision: 3 } });
  });

  it("that meets a bug is refused as internal, without the bug's text, which its owner hears", async () => {
    const bug = new TypeError("secret path /root/x is undefined");
    const failed = vi.fn();
    const { host } = await greetedPeers({ guest: { answer: () => Promise.reject(bug), failed } });
    const error: unknown = await host.request("ping", {}, 1000).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "internal" });
    expect(String(error)).not.toContain("secret");
    expect(failed).toHaveBeenCalledWith(bug);
  });

  it("whose answer is larger than a frame is refused as internal, and its owner hears", async () => {
    const failed = vi.fn();
    const answer = (): Promise<unknown> => Promise.resolve({ text: "x".repeat(MAX_PAYLOAD) });
    const { host } = await greetedPeers({ guest: { answer, failed } });
    await expect(host.request("ping", {}, 1000)).rejects.toMatchObject({ code: "internal" });
    expect(failed).toHaveBeenCalledTimes(1);
  });

  it("that is not answered in time is given up, and a late answer disturbs nothing", async () => {
    const answer = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, 2000, { uptimeMs: 1 }));
    const violated = vi.fn();
    const { host } = await greetedPeers({ guest: { answer }, host: { violated } });
    const outcome = host.request("ping", {}, 1000).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await outcome).toBeInstanceOf(NoAnswerError);
    await vi.advanceTimersByTimeAsync(5000);
    expect(violated).not.toHaveBeenCalled();
  });

  it("whose bytes the channel does not take is given up in time too", async () => {
    const { host } = await greetedPeers();
    vi.spyOn(host.channel, "write").mockReturnValue(new Promise(() => undefined));
    const outcome = host.request("ping", {}, 1000).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await outcome).toBeInstanceOf(NoAnswerError);
  });

  it("leaves no timer behind", async () => {
    const { host } = await greetedPeers({ guest: { answer: () => Promise.resolve({ uptimeMs: 5 }) } });
    await host.request("ping", {}, 1000);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("that waits when the channel ends hears that no answer will come", async () => {
    const { host, guest, ends } = await greetedPeers();
    const outcome = host.request("ping", {}, 1000).catch((error: unknown) => error);
    await allArrived();
    await guest.channel.close();
    expect(await outcome).toMatchObject({ name: "NoAnswerError", message: expect.stringContaining("ended") as string });
    await Promise.all(ends);
    expect(host.hasEnded).toBe(true);
  });

  it("that waits when the agent starts anew hears so at once", async () => {
    const peerRestarted = vi.fn();
    const { host, guest } = await greetedPeers({ host: { peerRestarted } });
    const outcome = host.request("ping", {}, 1000).catch((error: unknown) => error);
    const restarted = new GuestSession({ role: "host", agentNonce: "b".repeat(16), onHello: () => FACTS });
    await guest.channel.write(restarted.ready());
    expect(await outcome).toBeInstanceOf(NoAnswerError);
    expect(peerRestarted).toHaveBeenCalledTimes(1);
  });
});

describe("a flood of requests", () => {
  it("is worked on a bounded number at a time, however it is cut, and answered in full", async () => {
    for (const pieceBytes of [64, 4096, 1_000_000]) {
      let inWork = 0;
      let most = 0;
      const answer = async (): Promise<unknown> => {
        inWork += 1;
        most = Math.max(most, inWork);
        await new Promise((resolve) => setTimeout(resolve, 1));
        inWork -= 1;
        return { uptimeMs: 1 };
      };
      const { host, guest } = await greetedPeers({ guest: { answer }, toGuest: { pieceBytes } });
      const written = vi.spyOn(guest.channel, "write");
      await host.channel.write(pings(1000));
      await vi.runAllTimersAsync();
      expect(most).toBe(64);
      expect(written).toHaveBeenCalledTimes(1000);
    }
  });

  it("whose answers nobody reads is not read on", async () => {
    const answer = vi.fn(() => Promise.resolve({ uptimeMs: 1 }));
    const { host, guest } = await greetedPeers({ guest: { answer }, toGuest: { pieceBytes: 1000 } });
    vi.spyOn(guest.channel, "write").mockReturnValue(new Promise(() => undefined));
    await host.channel.write(pings(1000));
    await allArrived();
    expect(answer).toHaveBeenCalledTimes(64);
  });

  it("that are all wrong is not read on either while its refusals are not taken", async () => {
    const violated = vi.fn();
    const { host, guest } = await greetedPeers({ guest: { violated }, toGuest: { pieceBytes: 100 } });
    vi.spyOn(guest.channel, "write").mockReturnValue(new Promise(() => undefined));
    const wrong = encodeFrame({ jsonrpc: "2.0", id: "h1.1", method: "no", params: {} });
    await host.channel.write(Buffer.concat(Array.from({ length: 1000 }, () => wrong)));
    await allArrived();
    expect(violated.mock.calls.length).toBeLessThan(10);
  });
});

describe("a session that is opened anew", () => {
  it("gets no answers to what the one before asked", async () => {
    const answer = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, 100, { uptimeMs: 1 }));
    const { host, guest } = await greetedPeers({ guest: { answer } });
    const written = vi.spyOn(guest.channel, "write");
    await host.channel.write(pings(3));
    await allArrived();
    await host.ask(host.session.hello(), "hello", 1000);
    await vi.runAllTimersAsync();
    expect(written).toHaveBeenCalledTimes(1);
  });
});

describe("a host that greets anew", () => {
  it("ends the guest's waiting for answers from the one before at once", async () => {
    const { host, guest } = await greetedPeers();
    const outcome = guest.request("event", { messageId: "g1", event: "UP" }, 10_000).catch((error: unknown) => error);
    await allArrived();
    await host.ask(host.session.hello(), "hello", 1000);
    expect(await outcome).toMatchObject({ name: "NoAnswerError" });
  });
});

describe("an owner", () => {
  it("hears of hellos, notifications, damage and violations", async () => {
    const host = { opened: vi.fn(), notified: vi.fn(), damaged: vi.fn(), violated: vi.fn() };
    const { guest } = await greetedPeers({ host });
    await guest.channel.write(guest.session.notify("heartbeat", { uptimeMs: 1, epoch: EPOCH, revision: 0 }));
    await guest.channel.write(Buffer.from("garbage\n"));
    await guest.channel.write(encodeFrame({ jsonrpc: "2.0", method: "rumour" }));
    await allArrived();
    for (const callback of Object.values(host)) expect(callback).toHaveBeenCalledTimes(1);
    expect(host.damaged).toHaveBeenCalledWith("garbage");
  });

  it("hears when the channel breaks", async () => {
    const broken = new Error("read: EIO");
    const channel: Channel = {
      name: "broken",
      // eslint-disable-next-line @typescript-eslint/require-await -- it breaks before anything arrives
      incoming: (async function* () {
        throw broken;
      })(),
      write: () => Promise.resolve(),
      close: () => Promise.resolve(),
    };
    const session = new OpenerSession({ role: "host", software: "example 1.0", makeNonce: nonces() });
    const peer = new Peer(session, channel, nobody);
    const outcome = peer.ask(session.hello(), "hello", 1000).catch((error: unknown) => error);
    await expect(peer.run()).rejects.toBe(broken);
    expect(await outcome).toBeInstanceOf(NoAnswerError);
  });
});
