import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { type NotifyWish, parseStaticFile, StaticFileSource } from "../../../../manager/inventory/static-file.ts";
import type { Vm } from "../../../../manager/vms/vm.ts";

const host = "host1";
const uuid = "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11";

let directory: string;
let file: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-static-"));
  file = join(directory, "vms.json");
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
});

function socketOf(name: string): string {
  return join(directory, "run", `${name}.sock`);
}

async function write(...names: string[]): Promise<void> {
  await writeFile(file, JSON.stringify({ vms: names.map((name) => ({ name, socket: socketOf(name) })) }));
}

/** Takes the socket away again when called. */
async function listen(path: string): Promise<() => Promise<void>> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const close = () =>
    new Promise<void>((resolve) =>
      server.close(() => {
        resolve();
      }),
    );
  onTestFinished(close);
  return close;
}

/** Writes down what the source says, and what is so in the end. */
class Listening implements AsyncDisposable {
  readonly said: string[] = [];
  readonly reasons: (string | undefined)[] = [];
  readonly wishes: (readonly NotifyWish[])[] = [];
  readonly #vms = new Map<string, Vm>();
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor() {
    const keep = (vm: Vm) => this.#vms.set(vm.name, vm);
    const onNotify = (wishes: readonly NotifyWish[]) => this.wishes.push(wishes);
    this.#ended = new StaticFileSource({ path: file, host, onNotify }).run(
      {
        synchronized: (vms) => {
          this.said.push("synchronized");
          vms.forEach(keep);
        },
        changed: (vm) => {
          this.said.push(`${vm.name} ${vm.status}`);
          keep(vm);
        },
        removed: (id) => {
          const gone = [...this.#vms.values()].find((vm) => vm.id === id);
          this.said.push(`${gone?.name ?? "?"} removed`);
          this.#vms.delete(gone?.name ?? "?");
        },
        disconnected: (reason) => {
          if (this.reasons.at(-1) !== reason) this.reasons.push(reason);
        },
      },
      this.#stop.signal,
    );
  }

  get statuses(): Record<string, string> {
    return Object.fromEntries([...this.#vms].map(([name, { status }]) => [name, status]));
  }

  vm(name: string): Vm | undefined {
    return this.#vms.get(name);
  }

  async until(expected: Record<string, string>): Promise<void> {
    await vi.waitFor(
      () => {
        expect(this.statuses).toEqual(expected);
      },
      { timeout: 8_000 },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}

describe("the file's text", () => {
  it("names VMs, with UUIDs or without", () => {
    const vms = [
      { name: "web1", uuid: uuid.toUpperCase(), socket: "/run/vms/web1.sock" },
      { name: "web2", socket: "/run/vms/../vms/web2.sock" },
    ];
    expect(parseStaticFile(JSON.stringify({ vms }), host)).toEqual({
      type: "read",
      vms: [
        { id: uuid, name: "web1", socket: "/run/vms/web1.sock" },
        {
          id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-5/) as string,
          name: "web2",
          socket: "/run/vms/web2.sock",
        },
      ],
      wishes: [],
    });
  });

  it("says whom to notify of a VM's states, which is no part of the VM", () => {
    const notify = ["broker.example.org,/,guest,s3cret,states", 'other.example.org,/,guest,"a,b",states'];
    const vms = [
      { name: "web1", uuid, socket: "/run/vms/web1.sock", notify, vmId: "22" },
      { name: "web2", socket: "/run/vms/web2.sock", notify: notify.slice(1) },
    ];
    const read = parseStaticFile(JSON.stringify({ vms }), host);
    expect(read).toMatchObject({
      type: "read",
      vms: [{ name: "web1" }, { name: "web2" }],
      wishes: [
        { vm: { id: uuid, name: "web1" }, coordinates: notify[0], vmId: "22" },
        { vm: { id: uuid, name: "web1" }, coordinates: notify[1], vmId: "22" },
        { vm: { name: "web2" }, coordinates: notify[1], vmId: undefined },
      ],
    });
    expect(JSON.stringify("vms" in read && read.vms)).not.toContain("s3cret");
  });

  it.each([
    ["too few parts", "broker.example.org,/,guest,s3cret", /^vms\[0\]\.notify\[0\]: .*malformed: .*4/],
    ["quotes in the middle", 'broker.example.org,/,guest,s3"cret,q', /^vms\[0\]\.notify\[0\]: .*part 4 \(password\)/],
    ["no end", `broker.example.org,/,guest,s3cret,${"q".repeat(3_000)}`, /^vms\[0\]\.notify\[0\]: /],
  ])("with coordinates that have %s says what is wrong, and not the password", (_, coordinates, problem) => {
    const vms = [{ name: "web1", socket: "/run/vms/web1.sock", notify: [coordinates] }];
    const parsed = parseStaticFile(JSON.stringify({ vms }), host);
    expect(parsed).toEqual({ type: "wrong", problem: expect.stringMatching(problem) as string });
    expect(JSON.stringify(parsed)).not.toContain("cret");
  });

  it.each<[string, unknown, RegExp]>([
    ["no list", {}, /^vms: /],
    ["something unknown", { vms: [], vm: [] }, /"vm"/],
    ["a relative path", { vms: [{ name: "a", socket: "a.sock" }] }, /^vms\[0\]\.socket: is not an absolute path/],
    ["a path that is too long", { vms: [{ name: "a", socket: `/${"x".repeat(107)}` }] }, /longer than the 107 bytes/],
    ["a UUID that is none", { vms: [{ name: "a", uuid: "1", socket: "/a" }] }, /^vms\[0\]\.uuid: is not a UUID/],
    ["no name", { vms: [{ name: "", socket: "/a" }] }, /^vms\[0\]\.name: /],
    [
      "one socket twice",
      {
        vms: [
          { name: "a", uuid, socket: "/a" },
          { name: "b", socket: "//a" },
        ],
      },
      /socket of vms\[0\]/,
    ],
    [
      "one UUID twice",
      {
        vms: [
          { name: "a", uuid, socket: "/a" },
          { name: "b", uuid, socket: "/b" },
        ],
      },
      /UUID of vms\[0\]/,
    ],
  ])("with %s is refused", (_, content, problem) => {
    const parsed = parseStaticFile(JSON.stringify(content), host);
    expect(parsed).toEqual({ type: "wrong", problem: expect.stringMatching(problem) as string });
  });

  it("that is no JSON is refused, and all problems are named", () => {
    expect(parseStaticFile("{", host)).toEqual({ type: "wrong", problem: "it is not JSON" });
    const wrong = { vms: [{ name: "", socket: "a" }, { name: "b" }] };
    const problem = expect.stringMatching(/^vms\[0\]\.name: .*; vms\[0\]\.socket: .*; vms\[1\]\.socket: .*$/) as string;
    expect(parseStaticFile(JSON.stringify(wrong), host)).toEqual({ type: "wrong", problem });
  });
});

describe("a file of VMs", () => {
  it("is followed with its sockets, also in a folder that is made later", async () => {
    await write("web1", "web2");
    await using listening = new Listening();
    await listening.until({ web1: "Stopped", web2: "Stopped" });
    await mkdir(join(directory, "run"));
    const close = await listen(socketOf("web1"));
    await listening.until({ web1: "Running", web2: "Stopped" });
    expect(listening.vm("web1")?.channelPath).toBe(socketOf("web1"));
    await close();
    await listening.until({ web1: "Stopped", web2: "Stopped" });
    expect(listening.vm("web1")?.channelPath).toBeUndefined();
    expect(listening.said).toEqual(["synchronized", "web1 Running", "web1 Stopped"]);
  });

  it("is read again when it is written to and when another takes its place", async () => {
    await write("web1");
    await using listening = new Listening();
    await listening.until({ web1: "Stopped" });
    await write("web1", "web2");
    await listening.until({ web1: "Stopped", web2: "Stopped" });
    const first = file;
    file = join(directory, "next.json");
    await write("web2");
    await rename(file, first);
    await listening.until({ web2: "Stopped" });
    expect(listening.said).toEqual(["synchronized", "web2 Stopped", "web1 removed"]);
  });

  it("that is broken or gone changes nothing, and says so", async () => {
    await write("web1");
    await using listening = new Listening();
    await listening.until({ web1: "Stopped" });
    await writeFile(file, '{"vms": [{"name": "web1"}]}');
    await vi.waitUntil(() => listening.reasons.at(-1)?.includes("vms[0].socket"), { timeout: 8_000 });
    await rm(file);
    await vi.waitUntil(() => listening.reasons.at(-1)?.endsWith("vms.json does not exist"), { timeout: 8_000 });
    expect(listening.said).toEqual(["synchronized"]);
    await write("web1");
    await vi.waitUntil(() => listening.reasons.at(-1) === undefined, { timeout: 8_000 });
    expect(listening.said).toEqual(["synchronized"]);
  });

  it("that is not there at the start says so, and is read when it is", async () => {
    await using listening = new Listening();
    await vi.waitUntil(() => listening.reasons.at(-1)?.endsWith("vms.json does not exist"));
    expect(listening.said).toEqual([]);
    await write("web1");
    await listening.until({ web1: "Stopped" });
  });

  it("says whom to notify each time that it was read, and nobody when it is broken", async () => {
    const coordinates = "broker.example.org,/,guest,s3cret,states";
    const entry = { name: "web1", socket: socketOf("web1") };
    await writeFile(file, JSON.stringify({ vms: [{ ...entry, notify: [coordinates] }] }));
    await using listening = new Listening();
    await listening.until({ web1: "Stopped" });
    expect(listening.wishes).toMatchObject([[{ vm: { name: "web1" }, coordinates }]]);
    await writeFile(file, JSON.stringify({ vms: [{ ...entry, notify: ["s3cret"] }] }));
    await vi.waitUntil(() => listening.reasons.at(-1)?.includes("vms[0].notify[0]"), { timeout: 8_000 });
    expect(listening.reasons.join()).not.toContain("s3cret");
    expect(listening.wishes).toHaveLength(1);
    await write("web1");
    await vi.waitUntil(() => listening.wishes.length === 2, { timeout: 8_000 });
    expect(listening.wishes[1]).toEqual([]);
    expect(listening.said).toEqual(["synchronized"]);
  });

  it("may name a thousand", async () => {
    const names = Array.from({ length: 1_000 }, (_, index) => `vm${index}`);
    await write(...names);
    await mkdir(join(directory, "run"));
    await listen(socketOf("vm7"));
    await using listening = new Listening();
    await vi.waitUntil(() => listening.statuses["vm7"] === "Running", { timeout: 8_000 });
    expect(Object.keys(listening.statuses)).toHaveLength(1_000);
  });

  it("is checked", async () => {
    await write("web1");
    expect(await new StaticFileSource({ path: file, host }).probe()).toMatchObject([
      { name: "web1", status: "Stopped" },
    ]);
    await writeFile(file, "{}");
    await expect(new StaticFileSource({ path: file, host }).probe()).rejects.toMatchObject({ code: "usage" });
  });
});
