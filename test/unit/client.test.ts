import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Channel, ChannelClosedError } from "../../shared/channel.ts";
import { type Disturbance, memoryChannels } from "../../shared/channels/memory.ts";
import { Client, type ClientOptions } from "../../shared/client.ts";
import { NoAnswerError } from "../../shared/peer.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import { encodeFrame, FrameDecoder } from "../../shared/protocol/frame.ts";
import type { Params } from "../../shared/protocol/message.ts";
import { MemoryAgent } from "./agents.ts";
import { EPOCH } from "./protocol/sessions.ts";

const SET: Params<"set"> = { messageId: "m1", entries: [{ key: "a", value: "1" }] };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

interface Line {
  client: Client;
  agent: MemoryAgent;
  host: Channel;
}

function lineWith(
  options: Partial<ClientOptions> = {},
  disturb: { toGuest?: Disturbance; toHost?: Disturbance } = {},
): Line {
  const [host, guest] = memoryChannels({ left: disturb.toGuest ?? {}, right: disturb.toHost ?? {} });
  return { client: new Client(host, { role: "host", ...options }), agent: new MemoryAgent(guest), host };
}

async function startedLine(...parameters: Parameters<typeof lineWith>): Promise<Line> {
  const line = lineWith(...parameters);
  await line.agent.start();
  await allArrived();
  return line;
}

/** Lets everything arrive that is on its way. */
async function allArrived(): Promise<void> {
  await vi.advanceTimersByTimeAsync(1);
}

/** Loses the first piece that the pattern matches. */
function losing(pattern: RegExp): Disturbance & { lost: number } {
  const disturbance = {
    lost: 0,
    change: (piece: Uint8Array): Uint8Array | undefined => {
      if (disturbance.lost > 0 || !pattern.test(Buffer.from(piece).toString())) return piece;
      disturbance.lost += 1;
      return undefined;
    },
  };
  return disturbance;
}

/** Lets all the time pass that the work takes, and gives its outcome. */
async function whenDone<T>(work: Promise<T>): Promise<T> {
  const outcome = work.then(
    (value) => () => value,
    (error: unknown) => () => {
      throw error;
    },
  );
  await vi.runAllTimersAsync();
  return (await outcome)();
}

describe("a client", () => {
  it("greets once for all that it asks", async () => {
    const { client, agent } = await startedLine();
    await Promise.all([client.hello(), client.read("ping", {}), client.change("set", SET)]);
    await expect(client.read("get", { key: "a" })).resolves.toMatchObject({ entry: { value: "1" } });
    expect(agent.hellos).toHaveLength(1);
  });

  it("does not care how the bytes are cut", async () => {
    for (const pieceBytes of [1, 2, 3, 7, 64]) {
      const { client } = await startedLine({}, { toGuest: { pieceBytes }, toHost: { pieceBytes } });
      await client.change("set", SET);
      await expect(client.read("get", { key: "a" })).resolves.toMatchObject({ entry: { value: "1" } });
    }
  });

  it("hands on what the agent says no with", async () => {
    const { client } = await startedLine();
    await expect(client.read("get", { key: "nothing" })).rejects.toMatchObject({ code: "no-such-key" });
  });

  it("takes the guest's own requests and notifications", async () => {
    const notified: string[] = [];
    const { client, agent } = await startedLine({
      answer: (request) => Promise.resolve(request.method === "event" ? {} : undefined),
      notified: ({ method }) => notified.push(method),
    });
    await client.hello();
    await expect(agent.peer.request("event", { messageId: "g1", event: "UP" }, 1000)).resolves.toEqual({});
    await agent.peer.channel.write(agent.session.notify("heartbeat", { uptimeMs: 1, epoch: EPOCH, revision: 0 }));
    await client.read("ping", {});
    expect(notified).toEqual(["heartbeat"]);
  });

  it("refuses the guest's own requests when it takes none", async () => {
    const { client, agent } = await startedLine();
    await client.hello();
    const asked = agent.peer.request("event", { messageId: "g1", event: "UP" }, 1000);
    await expect(asked).rejects.toMatchObject({ code: "not-permitted" });
  });

  it("can be closed twice, and what waits then hears that no answer will come", async () => {
    const { client } = lineWith();
    const greeted = client.hello();
    greeted.catch(() => undefined);
    await client.close();
    await client.close();
    await expect(greeted).rejects.toThrow(NoAnswerError);
    await expect(client.ended).resolves.toBeUndefined();
    await expect(client.read("ping", {})).rejects.toThrow(ChannelClosedError);
  });
});

describe("a lost answer", () => {
  it("to a change leads to a repetition with the same messageId, which has no second effect", async () => {
    const toHost = losing(/"replaced"/);
    const { client, agent } = await startedLine({}, { toHost });
    const answer = await whenDone(client.change("set", SET));
    expect(answer).toMatchObject({ revision: 1, replaced: [] });
    expect(agent.messageIds).toEqual(["m1", "m1"]);
    expect(agent.kept.current.cursor.revision).toBe(1);
    expect(toHost.lost).toBe(1);
  });

  it("to a hello leads to another hello", async () => {
    const { client, agent } = await startedLine({}, { toHost: losing(/"role":"guest"/) });
    await whenDone(client.read("ping", {}));
    expect(agent.hellos).toHaveLength(2);
    expect(new Set(agent.hellos.map(({ nonce }) => nonce)).size).toBe(2);
  });

  it("or a lost request is the same to a read", async () => {
    const { client } = await startedLine({}, { toGuest: losing(/"ping"/), toHost: losing(/"uptimeMs"/) });
    await expect(whenDone(client.read("ping", {}))).resolves.toEqual({ uptimeMs: 1 });
  });

  it("that never comes ends with NoAnswerError when the time is up, and not before", async () => {
    const { client, agent } = await startedLine({ timeoutMs: 5000 });
    agent.answer = () => new Promise(() => undefined);
    await client.hello();
    const startedAt = performance.now();
    await expect(whenDone(client.read("ping", {}))).rejects.toThrow(NoAnswerError);
    expect(performance.now() - startedAt).toBe(5000);
  });

  it("that is spoilt on its way is no answer", async () => {
    let spoilt = 0;
    const change = (piece: Uint8Array): Uint8Array => {
      if (spoilt > 0 || !Buffer.from(piece).includes('"uptimeMs"')) return piece;
      spoilt += 1;
      return piece.with(30, 0x58);
    };
    const { client } = await startedLine({}, { toHost: { change } });
    await expect(whenDone(client.read("ping", {}))).resolves.toEqual({ uptimeMs: 1 });
    expect(spoilt).toBe(1);
  });

  it("that comes after its time matches nothing", async () => {
    const { client, agent } = await startedLine({ timeoutMs: 5000 });
    let answers = 0;
    agent.answer = (request) => {
      answers += 1;
      const lateMs = answers === 1 ? 3000 : 500;
      return new Promise((resolve) =>
        setTimeout(() => {
          resolve(agent.perform(request));
        }, lateMs),
      );
    };
    await expect(whenDone(client.change("set", SET))).resolves.toMatchObject({ revision: 1 });
    expect(agent.kept.current.cursor.revision).toBe(1);
  });
});

describe("an agent that starts late", () => {
  it("is greeted when it says ready", async () => {
    const { client, agent } = lineWith();
    const greeted = client.hello();
    await vi.advanceTimersByTimeAsync(1500);
    await agent.start();
    await expect(whenDone(greeted)).resolves.toMatchObject({ role: "guest" });
  });

  it("later than the time-out is greeted by the next request", async () => {
    const { client, agent } = lineWith({ timeoutMs: 3000 });
    await expect(whenDone(client.read("ping", {}))).rejects.toThrow(/no answer to hello/);
    await agent.start({ isReadySaid: false });
    await expect(whenDone(client.read("ping", {}))).resolves.toEqual({ uptimeMs: 1 });
  });

  it("is not greeted by a client that nobody has asked for anything", async () => {
    const { agent } = await startedLine();
    await vi.runAllTimersAsync();
    expect(agent.hellos).toEqual([]);
  });
});

describe("an agent that is restarted", () => {
  it("is greeted again when it says ready, and its owner is told once", async () => {
    const restarted = vi.fn();
    const { client, agent } = await startedLine({ restarted });
    await client.read("ping", {});
    await agent.start();
    await allArrived();
    expect(agent.hellos).toHaveLength(2);
    expect(restarted).toHaveBeenCalledTimes(1);
    await expect(client.read("ping", {})).resolves.toEqual({ uptimeMs: 1 });
  });

  it("and whose ready was lost is greeted again when it knows nothing of the session", async () => {
    const restarted = vi.fn();
    const { client, agent } = await startedLine({ restarted });
    await client.read("ping", {});
    await agent.start({ isReadySaid: false });
    const changes = ["m1", "m2", "m3"].map((messageId) => client.change("set", { ...SET, messageId }));
    await whenDone(Promise.all(changes));
    expect(agent.hellos).toHaveLength(2);
    expect(restarted).toHaveBeenCalledTimes(1);
    expect(agent.messageIds.sort()).toEqual(["m1", "m2", "m3"]);
  });

  it("in the middle of a change gets it again, with one effect", async () => {
    const { client, agent } = await startedLine();
    await client.hello();
    const { answer } = agent;
    agent.answer = async (request) => {
      agent.answer = answer;
      agent.perform(request);
      await agent.start();
      throw new Error("killed before it answered");
    };
    await expect(whenDone(client.change("set", SET))).resolves.toMatchObject({ revision: 1 });
    expect(agent.messageIds).toEqual(["m1", "m1"]);
    expect(agent.kept.current.cursor.revision).toBe(1);
  });

  it("over and over keeps nobody waiting beyond the time-out", async () => {
    const { client, agent } = await startedLine({ timeoutMs: 5000 });
    await client.hello();
    agent.answer = async () => {
      await agent.start({ isReadySaid: false });
      throw new Error("killed");
    };
    const startedAt = performance.now();
    await expect(whenDone(client.change("set", SET))).rejects.toThrow(NoAnswerError);
    expect(performance.now() - startedAt).toBeLessThanOrEqual(5000);
  });

  it("twice in a row is greeted for the second time too", async () => {
    const { client, agent } = await startedLine();
    await client.hello();
    await agent.start();
    await agent.start();
    await expect(whenDone(client.read("ping", {}))).resolves.toEqual({ uptimeMs: 1 });
    expect(agent.session.session).toBe(agent.hellos.at(-1)?.nonce);
  });
});

describe("a channel that ends", () => {
  it("before the answer leaves a change unconfirmed, not refused", async () => {
    const { client, agent, host } = await startedLine();
    await client.hello();
    agent.answer = () => new Promise(() => undefined);
    const changed = client.change("set", SET);
    changed.catch(() => undefined);
    await vi.advanceTimersByTimeAsync(100);
    await host.close();
    await expect(whenDone(changed)).rejects.toThrow("the channel ended before the answer came");
  });

  it("between two attempts leaves a change unconfirmed too: the first one may have had its effect", async () => {
    const [host, guest] = memoryChannels();
    let writes = 0;
    const breaking: Channel = {
      name: host.name,
      incoming: host.incoming,
      close: () => host.close(),
      write: (bytes) => {
        writes += 1;
        return writes > 2 ? Promise.reject(new ChannelClosedError("the port is gone")) : host.write(bytes);
      },
    };
    const client = new Client(breaking, { role: "host" });
    const agent = new MemoryAgent(guest);
    await agent.start();
    await allArrived();
    agent.answer = () => new Promise(() => undefined);
    await expect(whenDone(client.change("set", SET))).rejects.toThrow(NoAnswerError);
    expect(writes).toBe(3);
  });

  it("before anything was sent says so", async () => {
    const { client, host } = lineWith();
    await host.close();
    await expect(client.change("set", SET)).rejects.toThrow(ChannelClosedError);
  });
});

describe("a guest that means harm", () => {
  it("and says ready again and again gets no more than one hello at a time", async () => {
    const [host, guest] = memoryChannels();
    const client = new Client(host, { role: "host", timeoutMs: 5000 });
    const greeted = client.hello();
    greeted.catch(() => undefined);
    const ready = encodeFrame({ jsonrpc: "2.0", method: "ready", params: { nonce: "0123456789abcdef" } });
    await guest.write(Buffer.concat(Array.from({ length: 1000 }, () => ready)));
    await vi.advanceTimersByTimeAsync(1);
    const decoder = new FrameDecoder();
    let hellos = 0;
    const reading = (async () => {
      for await (const piece of guest.incoming) hellos += decoder.push(piece).length;
    })();
    await vi.advanceTimersByTimeAsync(1);
    await client.close();
    await reading;
    expect(hellos).toBeLessThanOrEqual(1001);
    await expect(greeted).rejects.toThrow(NoAnswerError);
  });

  it("and answers no-session for ever is given up on when the time is up", async () => {
    const { client, agent } = await startedLine({ timeoutMs: 3000 });
    await client.hello();
    agent.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      throw new RequestError("no-session", "who are you");
    };
    const startedAt = performance.now();
    await expect(whenDone(client.change("set", SET))).rejects.toThrow(/no/);
    expect(performance.now() - startedAt).toBeLessThan(3100);
  });
});
