import { afterEach, describe, expect, it, vi } from "vitest";
import { QmpClient, type QmpEvent, type QmpOptions } from "../../../../manager/inventory/qmp.ts";
import { QmpFollower } from "../../../../manager/inventory/qmp-follower.ts";
import { listeningPath } from "../../../../manager/inventory/qmp-vm.ts";
import type { Vm } from "../../../../manager/vms/vm.ts";
import { FakeQemu, WELL } from "./fake-qemu.ts";

afterEach(() => {
  vi.useRealTimers();
});

function connect(qemu: FakeQemu, options: Partial<QmpOptions> = {}): Promise<QmpClient> {
  const signal = AbortSignal.timeout(10_000);
  return QmpClient.connect(qemu.path, { signal, onEvent: () => undefined, ...options });
}

describe("a QMP client", () => {
  it("gets answers and events", async () => {
    const qemu = await FakeQemu.listen();
    const events: QmpEvent[] = [];
    await using client = await connect(qemu, { onEvent: (event) => events.push(event) });
    expect(await client.execute("query-name")).toEqual({ name: "web1" });
    qemu.announce("RESET", { guest: true });
    await vi.waitFor(() => {
      expect(events).toEqual([{ name: "RESET", data: { guest: true }, at: 1_700_000_000_250 }]);
    });
  });

  it("does not wait for ever for an answer", async () => {
    const qemu = await FakeQemu.listen();
    await using client = await connect(qemu, { commandTimeoutMs: 50 });
    await expect(client.execute("hang")).rejects.toThrow("no answer to hang within 50 ms");
    expect(await client.execute("query-name")).toEqual({ name: "web1" });
  });

  it("passes on what QEMU refuses, cut to a length", async () => {
    const qemu = await FakeQemu.listen();
    await using client = await connect(qemu);
    const refused = client.execute("nonsense");
    await vi.waitUntil(() => qemu.asked.includes("nonsense"));
    qemu.say(`${JSON.stringify({ error: { class: "CommandNotFound", desc: "x".repeat(10_000) }, id: 2 })}\n`);
    await expect(refused).rejects.toThrow(/^x{500}$/);
  });

  it("fails what is asked when QEMU ends, and everything after", async () => {
    const qemu = await FakeQemu.listen();
    await using client = await connect(qemu);
    const asked = client.execute("hang");
    qemu.end();
    await expect(asked).rejects.toThrow("QEMU closed the connection");
    await expect(client.execute("query-name")).rejects.toThrow("QEMU closed the connection");
    await client.ended;
  });

  it.each([
    ["a line without an end", "x".repeat(2 * 1024 * 1024), /a line has more than 1048576 bytes/],
    ["a line that is no JSON", "hello\n", /speaks no QMP/],
    ["a line of another protocol", '{"jsonrpc":"2.0"}\n', /speaks no QMP/],
  ])("gives up on %s", async (_, text, reason) => {
    const qemu = await FakeQemu.listen();
    await using client = await connect(qemu);
    const asked = client.execute("hang");
    qemu.say(text);
    await expect(asked).rejects.toThrow(reason);
  });

  it.each([
    ["says nothing", ""],
    ["says something else", "SSH-2.0"],
  ])("waits for no greeting longer than it is told to, from one who %s", async (_, greeting) => {
    const qemu = await FakeQemu.listen(greeting);
    await expect(connect(qemu, { signal: AbortSignal.timeout(100) })).rejects.toThrow();
  });

  it("may be closed twice", async () => {
    const client = await connect(await FakeQemu.listen());
    await client.close();
    await client.close();
  });
});

describe("a QEMU that is followed", () => {
  class Following implements AsyncDisposable {
    readonly vms: Vm[] = [];
    readonly troubles: (string | undefined)[] = [];
    readonly sockets: string[] = [];
    readonly ended: Promise<void>;
    readonly #stop = new AbortController();

    constructor(qemu: FakeQemu) {
      const follower = new QmpFollower({
        path: qemu.path,
        host: "host1",
        onVm: (vm) => this.vms.push(vm),
        onTrouble: (reason) => this.troubles.push(reason),
        onSockets: (paths) => this.sockets.push(...paths),
        onEvent: () => undefined,
      });
      this.ended = follower.run(this.#stop.signal);
    }

    get statuses(): string[] {
      return this.vms.map(({ status }) => status);
    }

    async untilTold(count: number): Promise<Vm | undefined> {
      await vi.waitUntil(() => this.vms.length >= count);
      return this.vms.at(-1);
    }

    async [Symbol.asyncDispose](): Promise<void> {
      this.#stop.abort();
      await this.ended;
    }
  }

  it("is described with its channel", async () => {
    await using following = new Following(await FakeQemu.listen());
    expect(await following.untilTold(1)).toEqual({
      id: "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11",
      name: "web1",
      status: "Running",
      host: "host1",
      channelPath: "/run/vms/web1.sock",
      isOpenInGuest: false,
      problem: undefined,
    });
    expect(following.sockets).toEqual(["/run/vms/web1.sock", "/run/vms/web1.qmp"]);
  });

  /** Gives it a second port, whose socket is /run/vms/other.sock. */
  function plugIn(qemu: FakeQemu, device: string, name: string, filename = "unix:/run/vms/other.sock,server=on"): void {
    const had = { ports: WELL["qom-list /machine/peripheral"], chardevs: WELL["query-chardev"] } as Record<
      string,
      object[]
    >;
    Object.assign(qemu.answers, {
      "qom-list /machine/peripheral": [{ name: device, type: "child<virtserialport>" }, ...(had["ports"] ?? [])],
      [`qom-get /machine/peripheral/${device} name`]: name,
      [`qom-get /machine/peripheral/${device} chardev`]: "c1",
      "query-chardev": [...(had["chardevs"] ?? []), { label: "c1", filename, "frontend-open": true }],
    });
  }

  const GUEST_AGENT = "org.qemu.guest_agent.0";

  it("is described with its guest agent, whose port is followed", async () => {
    const qemu = await FakeQemu.listen();
    plugIn(qemu, "qga0", GUEST_AGENT);
    await using following = new Following(qemu);
    const guestAgent = { via: "socket", path: "/run/vms/other.sock" };
    expect(await following.untilTold(1)).toMatchObject({
      channelPath: "/run/vms/web1.sock",
      isOpenInGuest: false,
      guestAgent: { ...guestAgent, isOpenInGuest: true },
    });
    qemu.announce("VSERPORT_CHANGE", { id: "qga0", open: false });
    expect(await following.untilTold(2)).toMatchObject({ guestAgent: { ...guestAgent, isOpenInGuest: false } });
    qemu.end();
    await following.ended;
    expect(following.vms.at(-1)).toMatchObject({ status: "Crashed" });
    expect(following.vms.at(-1)?.guestAgent).toBeUndefined();
  });

  it("finds a guest agent that is plugged in later", async () => {
    const qemu = await FakeQemu.listen();
    await using following = new Following(qemu);
    expect((await following.untilTold(1))?.guestAgent).toBeUndefined();
    plugIn(qemu, "qga0", GUEST_AGENT);
    qemu.announce("VSERPORT_CHANGE", { id: "qga0", open: true });
    expect(await following.untilTold(2)).toMatchObject({ guestAgent: { isOpenInGuest: true } });
  });

  it("has its guest agent no more when that is unplugged", async () => {
    const qemu = await FakeQemu.listen();
    plugIn(qemu, "qga0", GUEST_AGENT);
    await using following = new Following(qemu);
    expect((await following.untilTold(1))?.guestAgent).toBeDefined();
    qemu.answers["qom-list /machine/peripheral"] = WELL["qom-list /machine/peripheral"];
    qemu.announce("DEVICE_DELETED", { device: "qga0", path: "/machine/peripheral/qga0" });
    const vm = await following.untilTold(2);
    expect(vm).toMatchObject({ channelPath: "/run/vms/web1.sock" });
    expect(vm?.guestAgent).toBeUndefined();
  });

  it("whose guest agent has no listening Unix socket has none that can be asked", async () => {
    const qemu = await FakeQemu.listen();
    plugIn(qemu, "qga0", GUEST_AGENT, "unix:/run/vms/other.sock");
    await using following = new Following(qemu);
    const vm = await following.untilTold(1);
    expect(vm).toMatchObject({ channelPath: "/run/vms/web1.sock", problem: undefined });
    expect(vm?.guestAgent).toBeUndefined();
  });

  it("says when the guest opens and closes its port, and no other's", async () => {
    const qemu = await FakeQemu.listen();
    plugIn(qemu, "other", "com.redhat.spice.0");
    await using following = new Following(qemu);
    await following.untilTold(1);
    qemu.announce("VSERPORT_CHANGE", { id: "other", open: true });
    qemu.announce("VSERPORT_CHANGE", { id: "port0", open: true });
    expect(await following.untilTold(2)).toMatchObject({ isOpenInGuest: true });
    qemu.announce("VSERPORT_CHANGE", { id: "port0", open: false });
    expect(await following.untilTold(3)).toMatchObject({ isOpenInGuest: false });
  });

  it("whose port has no id does not say whether it is open", async () => {
    const qemu = await FakeQemu.listen();
    qemu.answers["qom-list /machine/peripheral"] = [];
    qemu.answers["qom-list /machine/peripheral-anon"] = [{ name: "device[1]", type: "child<virtserialport>" }];
    qemu.answers["qom-get /machine/peripheral-anon/device[1] name"] = "org.vmmessage.agent.0";
    qemu.answers["qom-get /machine/peripheral-anon/device[1] chardev"] = "c0";
    await using following = new Following(qemu);
    expect(await following.untilTold(1)).toMatchObject({ channelPath: "/run/vms/web1.sock", isOpenInGuest: undefined });
  });

  it.each([
    ["a relative path", "unix:web1.sock,server=on"],
    ["a socket that QEMU connects to", "unix:/run/vms/web1.sock"],
    ["another kind", "pty:/dev/pts/3"],
  ])("whose port has %s has a problem", async (_, filename) => {
    const qemu = await FakeQemu.listen();
    qemu.answers["query-chardev"] = [{ label: "c0", filename, "frontend-open": false }];
    await using following = new Following(qemu);
    const vm = await following.untilTold(1);
    expect(vm).toMatchObject({ status: "Running", channelPath: undefined });
    expect(vm?.problem).toContain("is no listening Unix socket with an absolute path");
  });

  it("finds a port that is plugged in later", async () => {
    const qemu = await FakeQemu.listen();
    qemu.answers["qom-list /machine/peripheral"] = [];
    await using following = new Following(qemu);
    expect((await following.untilTold(1))?.problem).toContain("no port named");
    qemu.answers["qom-list /machine/peripheral"] = WELL["qom-list /machine/peripheral"];
    qemu.announce("VSERPORT_CHANGE", { id: "port0", open: true });
    expect(await following.untilTold(2)).toMatchObject({ channelPath: "/run/vms/web1.sock", problem: undefined });
  });

  it.each([
    ["STOP", "paused", "Paused"],
    ["SUSPEND", "suspended", "Suspended"],
    ["GUEST_PANICKED", "guest-panicked", "Crashed"],
    ["SHUTDOWN", "shutdown", "Stopped"],
    ["STOP", "io-error", "Paused"],
  ])("after %s is asked, and %s is %s", async (event, status, expected) => {
    const qemu = await FakeQemu.listen();
    await using following = new Following(qemu);
    await following.untilTold(1);
    qemu.answers["query-status"] = { status };
    qemu.announce(event);
    expect((await following.untilTold(2))?.status).toBe(expected);
  });

  it("is not asked once for each event of a storm", async () => {
    const qemu = await FakeQemu.listen();
    await using following = new Following(qemu);
    await following.untilTold(1);
    for (let count = 0; count < 5_000; count += 1) qemu.announce("RESET");
    qemu.answers["query-status"] = { status: "paused" };
    qemu.announce("STOP");
    await vi.waitUntil(() => following.statuses.at(-1) === "Paused", { timeout: 5_000 });
    expect(qemu.asked.filter((command) => command === "query-status").length).toBeLessThan(1_000);
  });

  it.each([
    ["without a word", undefined, "Crashed"],
    ["after a shutdown", "guest-shutdown", "Stopped"],
    ["after a signal", "host-signal", "Stopped"],
    ["after a panic", "guest-panic", "Crashed"],
  ])("that ends %s", async (_, reason, expected) => {
    const qemu = await FakeQemu.listen();
    await using following = new Following(qemu);
    await following.untilTold(1);
    if (reason !== undefined) qemu.announce("SHUTDOWN", { guest: true, reason });
    qemu.end();
    await following.ended;
    expect(following.vms.at(-1)).toMatchObject({ status: expected, channelPath: undefined });
    expect(following.troubles.at(-1)).toBeUndefined();
  });

  it("that went on after a shutdown and is then killed has crashed", async () => {
    const qemu = await FakeQemu.listen();
    await using following = new Following(qemu);
    await following.untilTold(1);
    qemu.announce("SHUTDOWN", { guest: true, reason: "guest-shutdown" });
    qemu.announce("RESUME");
    qemu.end();
    await following.ended;
    expect(following.vms.at(-1)?.status).toBe("Crashed");
  });

  it.each([
    ["answers nonsense", { UUID: 7 }, /web1\.qmp: QEMU's answer to query-uuid is not what QMP says it is/],
    ["has a UUID that is none", { UUID: "../../etc" }, undefined],
  ])("that %s ends no other", async (_, answer, reason) => {
    const qemu = await FakeQemu.listen();
    qemu.answers["query-uuid"] = answer;
    await using following = new Following(qemu);
    if (reason === undefined) {
      expect((await following.untilTold(1))?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-/);
      return;
    }
    await following.ended;
    expect(following.troubles.at(-1)).toMatch(reason);
    expect(following.vms).toEqual([]);
  });

  it("that hangs is named, and the VM stays as it was", async () => {
    const qemu = await FakeQemu.listen();
    await using following = new Following(qemu);
    await following.untilTold(1);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    delete qemu.answers["query-status"];
    qemu.announce("STOP");
    await vi.waitUntil(() => qemu.asked.filter((command) => command === "query-status").length === 2);
    await vi.advanceTimersByTimeAsync(10_000);
    await following.ended;
    expect(following.troubles.at(-1)).toMatch(/web1\.qmp: no answer to query-status within 10000 ms/);
    expect(following.statuses).toEqual(["Running"]);
  });
});

it.each([
  ["unix:/run/a.sock,server=on", "/run/a.sock"],
  ["disconnected:unix:/run/a.sock,server=on", "/run/a.sock"],
  ["disconnected:unix:/run/a,server=on.sock,server=on", "/run/a,server=on.sock"],
  ["unix:/run/a.sock,server", "/run/a.sock"],
  ["unix:/run/a.sock", undefined],
  ["unix:@abstract,server=on", undefined],
  ["tcp:127.0.0.1:1,server=on", undefined],
])("'%s' listens at %s", (filename, path) => {
  expect(listeningPath(filename)).toBe(path);
});
