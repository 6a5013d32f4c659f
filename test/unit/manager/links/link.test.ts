/** A link to a guest that does what guests do on bad days: it is played by the protocol's own guest end on a Unix socket. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Link, type LinkStatus } from "../../../../manager/links/link.ts";
import { Mirror } from "../../../../manager/links/mirror.ts";
import type { Probe } from "../../../../manager/monitor/probe.ts";
import { socketChannel } from "../../../../shared/channels/unix-socket.ts";
import { Peer } from "../../../../shared/peer.ts";
import { RequestError } from "../../../../shared/protocol/errors.ts";
import type { NotificationParams } from "../../../../shared/protocol/message.ts";
import { GuestSession, type Request } from "../../../../shared/protocol/session.ts";

const epoch = "00000000000000aa";

class ScriptedGuest {
  readonly #server: Server;
  #socket: Socket | undefined;
  #peer: Peer<GuestSession> | undefined;
  watches = 0;
  refusesWatches = false;
  connections = 0;
  /** It reads nothing of connections from now on: somebody else is served. */
  isMute = false;
  pong: () => Promise<unknown> = () => Promise.resolve({ uptimeMs: 1_000 });

  constructor(path: string) {
    this.#server = createServer((socket) => {
      this.#socket = socket;
      this.connections += 1;
      if (this.isMute) return;
      this.#peer = new Peer(this.#session(), socketChannel(socket, "guest"), {
        answer: (asked) => this.#answer(asked),
      });
      this.#peer.run().catch(() => undefined);
    }).listen(path);
  }

  changed(batch: Partial<NotificationParams<"changed">>): void {
    const whole = { watch: this.watches, epoch, revision: 1, more: false, resync: false, changes: [], ...batch };
    this.#write(this.#peer?.session.notify("changed", whole));
  }

  endWatch(): void {
    this.#write(this.#peer?.session.notify("watchEnded", { watch: this.watches, epoch, revision: 1 }));
  }

  notify(method: "heartbeat" | "stopping"): void {
    const session = this.#peer?.session;
    if (method === "stopping") this.#write(session?.notify(method, {}));
    else this.#write(session?.notify(method, { uptimeMs: 2_000, epoch, revision: 1 }));
  }

  /** The channel ends, as with a new QEMU. */
  drop(): void {
    this.#socket?.destroy();
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }

  #write(bytes: Buffer | undefined): void {
    if (bytes !== undefined) this.#socket?.write(bytes);
  }

  #session(): GuestSession {
    const limits = { cache: 8192, value: 1, key: 1, payload: 1 };
    const facts = { software: "scripted", uuid: null, bootId: "boot", epoch, revision: 1, limits };
    return new GuestSession({ role: "host", agentNonce: "00000000000000bb", onHello: () => facts });
  }

  #answer({ method }: Request): Promise<unknown> {
    if (method === "ping") return this.pong();
    if (this.refusesWatches) return Promise.reject(new RequestError("failed", "not now"));
    this.watches += 1;
    return Promise.resolve({ watch: this.watches, epoch, revision: 1, resync: true });
  }
}

let directory: string;
let guest: ScriptedGuest;
let link: Link;
let mirror: Mirror;
let states: LinkStatus["state"][];
let allowance: { perSecond: number; burst: number };
let throttled: number;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-link-"));
  const path = join(directory, "channel");
  guest = new ScriptedGuest(path);
  mirror = new Mirror();
  states = [];
  allowance = { perSecond: 1e9, burst: 1e9 };
  throttled = 0;
  const nothing = (): void => undefined;
  link = new Link({
    path,
    mirror,
    known: undefined,
    owner: {
      statusChanged: ({ state }) => states.push(state),
      greeted: nothing,
      mirrored: nothing,
      read: nothing,
      received: () => Promise.resolve(),
      refusedFrame: nothing,
    },
    meter: { received: nothing, sent: nothing, throttled: () => (throttled += 1) },
    allowance,
    messageAllowance: { perSecond: 1e9, burst: 1e9 },
  });
  link.start();
  await untilState("up");
});

afterEach(async () => {
  await link.stop();
  guest.close();
  await rm(directory, { recursive: true });
});

function untilState(state: LinkStatus["state"]): Promise<void> {
  return vi.waitFor(() => {
    expect(link.status.state).toBe(state);
  }, 10_000);
}

test("a watch that the guest ends is begun again", async () => {
  guest.endWatch();
  await vi.waitFor(() => {
    expect(guest.watches).toBe(2);
  }, 10_000);
  expect(states).toEqual(["up"]);
});

test("a link whose guest will not be watched again is not up, and tries again", async () => {
  guest.refusesWatches = true;
  guest.endWatch();
  await untilState("silent");
  expect(link.status.reason).toBe("not now");
  guest.refusesWatches = false;
  link.nudge();
  await untilState("up");
  expect(guest.watches).toBe(2);
});

test("only the last of the guest's watches counts", async () => {
  const entry = { setBy: "guest" as const, setAt: "2026-11-21T00:00:00Z", ageMs: 0, revision: 2 };
  guest.changed({ watch: 1, resync: true, more: true, changes: [{ ...entry, key: "half a snapshot" }] });
  guest.changed({ watch: 2, resync: true, changes: [{ ...entry, key: "whole" }] });
  guest.changed({ watch: 1, changes: [{ ...entry, key: "late" }] });
  guest.changed({ watch: 2, revision: 3, changes: [{ ...entry, key: "next", revision: 3 }] });
  await vi.waitFor(() => {
    expect(mirror.list("", 0).map(({ key }) => key)).toEqual(["next", "whole"]);
  });
});

function probe(timeoutMs: number, signal = new AbortController().signal): Promise<Probe> {
  return link.probe(timeoutMs, signal);
}

const never = (): Promise<never> => new Promise(() => undefined);

describe("a probe", () => {
  const shop = { name: "shop", kind: "check", state: "ok", forMs: 5 } as const;

  test("of a guest that answers has what its agent says of applications", async () => {
    guest.pong = () => Promise.resolve({ uptimeMs: 1, applications: [shop] });
    expect(await probe(2_000)).toEqual({ type: "answered", applications: [shop] });
  });

  test("of an agent that watches no applications says that there are none", async () => {
    expect(await probe(2_000)).toEqual({ type: "answered", applications: [] });
  });

  test("of a guest that hangs is a miss, and the next is answered when it goes on", async () => {
    const { pong } = guest;
    guest.pong = never;
    expect(await probe(50)).toEqual({ type: "missed" });
    guest.pong = pong;
    expect(await probe(2_000)).toMatchObject({ type: "answered" });
  });

  test("that is refused was answered", async () => {
    guest.pong = () => Promise.reject(new RequestError("internal", "broken"));
    expect(await probe(2_000)).toEqual({ type: "answered" });
  });

  test("is no miss while the guest says other things", async () => {
    guest.pong = never;
    const probing = probe(300);
    guest.notify("heartbeat");
    expect(await probing).toMatchObject({ type: "unknown", reason: expect.stringMatching(/speaks/) as unknown });
  });

  test("is no miss when this host had no time to hear the answer", async () => {
    guest.pong = never;
    const probing = probe(50);
    const until = performance.now() + 700;
    while (performance.now() < until);
    expect(await probing).toMatchObject({ type: "unknown", reason: "this host is too busy to tell" });
  });

  test("of an agent that was told to end is unknown, until it is greeted again", async () => {
    guest.notify("stopping");
    await untilState("silent");
    expect(await probe(50)).toMatchObject({ type: "unknown", reason: "the agent was told to end" });
    link.nudge();
    await untilState("up");
  });

  test("on a new connection, on which nobody answered yet, is unknown", async () => {
    guest.isMute = true;
    guest.drop();
    await vi.waitFor(() => {
      expect(guest.connections).toBe(2);
    });
    expect(await probe(50)).toMatchObject({ type: "unknown" });
  });

  test("is no miss while this host reads the guest no faster than it allows", async () => {
    Object.assign(allowance, { perSecond: 100, burst: 0 });
    guest.notify("heartbeat");
    await vi.waitUntil(() => throttled > 0);
    expect(await probe(200)).toMatchObject({
      type: "unknown",
      reason: expect.stringMatching(/more than it may/) as unknown,
    });
  });

  test("ends when whoever asked ends", async () => {
    guest.pong = never;
    const stopping = new AbortController();
    const probing = probe(60_000, stopping.signal);
    stopping.abort();
    expect(await probing).toMatchObject({ type: "unknown", reason: "the manager stops" });
  });

  test("is unknown when the channel ends meanwhile", async () => {
    guest.pong = never;
    const probing = probe(200);
    guest.isMute = true;
    guest.drop();
    expect(await probing).toMatchObject({ type: "unknown", reason: "the channel was closed" });
  });
});
