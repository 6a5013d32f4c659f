/** Managers of two hosts that share a broker: real processes, a real RabbitMQ, real agents. */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import type { Health, KeyAnswer, NewMessage, Receipt, VmList, VmSummary } from "../../../../shared/api/schemas.ts";
import { AgentUnderTest } from "../../support/agents.ts";
import { type Answer, type ListedVm, ManagerUnderTest } from "../../support/managers.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../../support/rabbitmq.ts";

const SOON = { timeout: 60_000, interval: 100 };

let rabbit: RabbitUnderTest;
let directory: string;
let keyFile: string;
/** Each test has an exchange of its own: managers of others are not met there. */
let exchange: string;

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
  directory = await mkdtemp(join(tmpdir(), "peers-"));
  keyFile = await newKeyFile();
}, RABBIT_HOOK_TIMEOUT_MS);

afterAll(async () => {
  await rabbit.close();
  await rm(directory, { recursive: true, force: true });
});

async function newKeyFile(): Promise<string> {
  const path = join(directory, randomUUID());
  await writeFile(path, randomBytes(32).toString("hex"), { mode: 0o600 });
  return path;
}

/** A manager on a host of this name: in a UTS namespace of its own. */
async function managerOn(host: string, vms: readonly ListedVm[], peers: object = {}): Promise<ManagerUnderTest> {
  const config = { peers: { url: rabbit.url, keyFile, exchange, ...peers } };
  const wrapper = ["unshare", "--uts", "sh", "-c", `hostname ${host}; exec "$0" "$@"`];
  const manager = await ManagerUnderTest.start(vms, config, { wrapper });
  onTestFinished(() => manager[Symbol.asyncDispose]());
  return manager;
}

async function newAgent(): Promise<AgentUnderTest> {
  const agent = await AgentUnderTest.start();
  onTestFinished(() => agent[Symbol.asyncDispose]());
  return agent;
}

function listed(name: string, agent: AgentUnderTest, uuid: string = randomUUID()): ListedVm {
  return { name, socket: agent.channelPath, uuid };
}

/** Two hosts with a VM each, that have met. */
async function twoHosts() {
  exchange = `managers-${randomUUID()}`;
  const [agentA, agentB] = await Promise.all([newAgent(), newAgent()]);
  const [webA, webB] = [listed("web-a", agentA), listed("web-b", agentB)];
  const [hostA, hostB] = await Promise.all([managerOn("hosta", [webA]), managerOn("hostb", [webB])]);
  await haveMet(hostA, "web-b");
  await haveMet(hostB, "web-a");
  return { hostA, hostB, agentA, agentB, webA, webB };
}

async function haveMet(manager: ManagerUnderTest, vm: string): Promise<void> {
  await manager.untilLink(vm, "up");
}

function setting(key: string, value: string, more: Partial<NewMessage> = {}): NewMessage {
  return { method: "set", params: { entries: [{ key, value }] }, ...more } as NewMessage;
}

async function value(manager: ManagerUnderTest, vm: string, key: string): Promise<string | undefined> {
  const { body } = await manager.get<KeyAnswer>(`/v1/vms/${vm}/keys/${key}`);
  return body.entry.value;
}

function code({ body }: Answer): unknown {
  return (body as { code?: string }).code;
}

function detail({ body }: Answer): string {
  return (body as { detail?: string }).detail ?? "";
}

async function listEverywhere(manager: ManagerUnderTest): Promise<VmList> {
  return (await manager.get<VmList>("/v1/vms?everywhere=true")).body;
}

describe("what is asked of one manager about a VM of another", { timeout: 120_000 }, () => {
  test("is answered as at home, both ways", async () => {
    const { hostA, hostB, agentB } = await twoHosts();
    await hostA.set("web-b", "com.example.role", "frontend", { waitFor: "delivered" });
    expect(await agentB.list()).toContain('{"com.example.role":"frontend"}');
    expect(await value(hostA, "web-b", "com.example.role")).toBe("frontend");
    await hostB.set("web-a", "com.example.role", "backend", { waitFor: "delivered" });
    expect(await value(hostA, "web-a", "com.example.role")).toBe("backend");
    const home = await hostB.get("/v1/vms/web-b/keys/com.example.none");
    const across = await hostA.get("/v1/vms/web-b/keys/com.example.none");
    expect({ ...across, body: { ...(across.body as object) } }).toEqual(home);
    expect((await hostA.post("/v1/vms/web-b/ping", {})).status).toBe(200);
    expect((await hostA.get("/v1/vms/web-b/info")).status).toBe(200);
    expect((await hostA.get("/v1/vms/web-b/stats")).status).toBe(200);
    expect((await hostA.get("/v1/vms/web-b/monitor")).status).toBe(200);
  });

  test("is in the audit log of the one that has it, with who asked and from where", async () => {
    const { hostA, hostB } = await twoHosts();
    await hostA.set("web-b", "com.example.role", "frontend", { waitFor: "delivered" });
    const { body } = await hostB.get<{ records: object[] }>("/v1/audit?vm=web-b");
    const who = `socket:${hostA.socketPath}@hosta`;
    expect(body.records).toContainEqual(
      expect.objectContaining({ action: "set", via: "amqp:hosta", who, outcome: "ok" }),
    );
  });

  test("is bounded by the rights that the one that has it gives to others", async () => {
    exchange = `managers-${randomUUID()}`;
    const agent = await newAgent();
    const hostA = await managerOn("hosta", []);
    const rights = { role: "read", keys: ["com.example."] };
    const hostB = await managerOn("hostb", [listed("web-b", agent)], { rights });
    await haveMet(hostA, "web-b");
    await hostB.set("web-b", "com.example.role", "frontend", { waitFor: "delivered" });
    expect(await value(hostA, "web-b", "com.example.role")).toBe("frontend");
    expect(code(await hostA.get("/v1/vms/web-b/keys/org.other.key"))).toBe("not-permitted");
    expect(code(await hostA.post("/v1/vms/web-b/messages", setting("com.example.role", "x")))).toBe("not-permitted");
    expect(await value(hostB, "web-b", "com.example.role")).toBe("frontend");
  });

  test("about a VM that nobody has is refused as at home", async () => {
    const { hostA } = await twoHosts();
    // Just after they met, one may still be told of.
    await vi.waitFor(async () => {
      const answer = await hostA.get("/v1/vms/web-z");
      expect([answer.status, code(answer)]).toEqual([404, "failed"]);
    }, SOON);
  });

  test("by a name that two other hosts have needs a UUID; one's own VM of that name comes first", async () => {
    exchange = `managers-${randomUUID()}`;
    const agents = await Promise.all([newAgent(), newAgent(), newAgent()]);
    const [one, two, three] = agents.map((agent) => listed("web", agent)) as [ListedVm, ListedVm, ListedVm];
    const hosts = await Promise.all([managerOn("hosta", [one]), managerOn("hostb", [two]), managerOn("hostc", [])]);
    const [hostA, , hostC] = hosts;
    await haveMet(hostC, one.uuid ?? "");
    await haveMet(hostC, two.uuid ?? "");
    const answer = await hostC.get("/v1/vms/web");
    expect([answer.status, code(answer)]).toEqual([400, "usage"]);
    expect(detail(answer)).toContain(one.uuid);
    expect(detail(answer)).toContain(two.uuid);
    expect((await hostA.vm("web")).id).toBe(one.uuid);
    await hostC.list([three]);
    await vi.waitFor(async () => {
      expect((await hostC.vm("web")).id).toBe(three.uuid);
    }, SOON);
  });
});

describe("messages", { timeout: 120_000 }, () => {
  test("have receipts that any manager can tell", async () => {
    const { hostA, hostB } = await twoHosts();
    const hostC = await managerOn("hostc", []);
    const { messageId } = await hostA.set("web-b", "com.example.role", "frontend");
    for (const manager of [hostA, hostB]) await manager.untilReceipt(messageId, "delivered");
    await vi.waitFor(async () => {
      expect((await hostC.receipt(messageId)).state).toBe("delivered");
    }, SOON);
    const unknown = await hostA.get(`/v1/messages/${randomBytes(16).toString("hex")}`);
    expect(detail(unknown)).toContain("there is no message");
  });

  test("to a VM that is away wait at its manager", async () => {
    const { hostA, hostB, agentB } = await twoHosts();
    await agentB.kill("SIGKILL");
    await hostA.untilLink("web-b", "down");
    const { messageId, state } = await hostA.set("web-b", "com.example.role", "later");
    expect(state).toBe("queued");
    expect((await hostB.vm("web-b")).pending).toBe(1);
    await agentB.start();
    await hostA.untilReceipt(messageId, "delivered");
    expect(await value(hostA, "web-b", "com.example.role")).toBe("later");
  });

  test("reach a fleet that spans the hosts, each VM once", async () => {
    const { hostA, agentA, agentB } = await twoHosts();
    const body = { vms: { all: true }, request: setting("com.example.fleet", "1", { waitFor: "delivered" }) };
    const events = await streamed(hostA, "POST", "/v1/fleet", body);
    expect(events.at(-1)).toEqual(["summary", { vms: 2, done: 2, queued: 0, failed: 0 }]);
    for (const agent of [agentA, agentB]) expect(await agent.list()).toContain('{"com.example.fleet":"1"}');
  });
});

describe("the list of all VMs", { timeout: 120_000 }, () => {
  test("has those of all hosts, and says who was asked", async () => {
    const { hostA, hostB, webA, webB } = await twoHosts();
    for (const manager of [hostA, hostB]) {
      const { vms, managers } = await listEverywhere(manager);
      expect(vms.map(({ id, host }) => `${host} ${id}`).sort()).toEqual([`hosta ${webA.uuid}`, `hostb ${webB.uuid}`]);
      expect(managers?.map(({ host, reason }) => [host, reason]).sort()).toEqual([
        ["hosta", undefined],
        ["hostb", undefined],
      ]);
    }
  });

  test("names a manager that does not answer, with the VMs of the others", async () => {
    const { hostA, hostB } = await twoHosts();
    hostB.signal("SIGSTOP");
    const { vms, managers } = await listEverywhere(hostA);
    hostB.signal("SIGCONT");
    expect(vms.map(({ name }) => name)).toEqual(["web-a"]);
    expect(managers?.find(({ host }) => host === "hostb")?.reason).toContain("hostb");
  });

  test("is an error of use where no broker is configured for managers", async () => {
    const alone = await ManagerUnderTest.start([]);
    onTestFinished(() => alone[Symbol.asyncDispose]());
    expect(code(await alone.get("/v1/vms?everywhere=true"))).toBe("usage");
  });
});

describe("a VM that moves", { timeout: 180_000 }, () => {
  test("is found again, and what waited for it follows it and is done once", async () => {
    const { hostA, hostB, agentB, webB } = await twoHosts();
    const hostC = await managerOn("hostc", []);
    await haveMet(hostC, "web-b");
    await agentB.kill("SIGKILL");
    await hostC.untilLink("web-b", "down");
    const { messageId } = await hostC.set("web-b", "com.example.role", "moved");
    const before = (await hostB.vm("web-b")).agent?.revision ?? 0;
    // Taken away here, and started there.
    await hostB.list([]);
    await hostA.list([webB, ...(await ownOf(hostA))]);
    await agentB.start();
    await hostC.untilReceipt(messageId, "delivered");
    await vi.waitFor(async () => {
      expect(await heldBy(hostC, "web-b")).toBe("hosta");
    }, SOON);
    expect((await hostB.vm("web-b")).link.state).toBe("up");
    expect(await value(hostB, "web-b", "com.example.role")).toBe("moved");
    expect((await hostA.vm("web-b")).agent?.revision ?? 0).toBeGreaterThanOrEqual(before);
    const retried = await hostC.send("web-b", {
      ...setting("com.example.role", "moved", { waitFor: "delivered" }),
      params: { messageId, entries: [{ key: "com.example.role", value: "moved" }] },
    } as NewMessage);
    expect(retried.state).toBe("delivered");
    expect(await agentB.list()).toContain('{"com.example.role":"moved"}');
  });

  test("and is then running at both is contested: said by both, and not touched for others", async () => {
    exchange = `managers-${randomUUID()}`;
    const [agentA, agentB] = await Promise.all([newAgent(), newAgent()]);
    const uuid = randomUUID();
    const [hostA, hostB, hostC] = await Promise.all([
      managerOn("hosta", [listed("twin", agentA, uuid)]),
      managerOn("hostb", [listed("twin", agentB, uuid)]),
      managerOn("hostc", []),
    ]);
    await vi.waitFor(async () => {
      expect((await hostA.vm("twin")).contestedBy).toBe("hostb");
    }, SOON);
    await vi.waitFor(async () => {
      expect((await hostB.vm("twin")).contestedBy).toBe("hosta");
    }, SOON);
    const remote = await hostC.post("/v1/vms/twin/messages", setting("com.example.a", "c"));
    expect(code(remote)).toBe("conflict");
    await hostA.set("twin", "com.example.a", "a", { waitFor: "delivered" });
    await hostB.set("twin", "com.example.a", "b", { waitFor: "delivered" });
    expect(await agentA.list()).toContain('{"com.example.a":"a"}');
    expect(await agentB.list()).toContain('{"com.example.a":"b"}');
    expect(await hostA.logged("vm-contested")).toHaveLength(1);
    await agentB.kill("SIGKILL");
    await hostB.list([]);
    await vi.waitFor(async () => {
      expect((await hostA.vm("twin")).contestedBy).toBeUndefined();
    }, SOON);
  });
});

describe("a manager or a broker that is away", { timeout: 240_000 }, () => {
  test("in the middle of a request leaves it unconfirmed, and a retry has one effect", async () => {
    const { hostA, hostB, agentB } = await twoHosts();
    hostB.signal("SIGSTOP");
    const messageId = randomBytes(16).toString("hex");
    const message = {
      method: "set",
      params: { messageId, entries: [{ key: "com.example.once", value: "1" }] },
      waitFor: "delivered",
    } as NewMessage;
    const asking = hostA.post("/v1/vms/web-b/messages", message);
    await vi.waitFor(async () => {
      expect(await queuedIn(rabbit)).toBeGreaterThan(0);
    }, SOON);
    await hostB.kill("SIGKILL");
    const lost = await asking;
    expect([lost.status, code(lost)]).toEqual([504, "unconfirmed"]);
    expect(detail(lost)).toContain(messageId);
    await hostB.start();
    await vi.waitFor(async () => {
      const again = await hostA.post<Receipt>("/v1/vms/web-b/messages", message);
      expect([again.status, again.body.state]).toEqual([200, "delivered"]);
    }, SOON);
    const { stdout } = await agentB.run("-l");
    expect(stdout.toString()).toBe('{"com.example.once":"1"}\n');
  });

  test("does not keep local work from going on; remote calls say so at once, and all comes back by itself", async () => {
    const { hostA, hostB } = await twoHosts();
    const watch = new AbortController();
    const seen: string[] = [];
    void watchInto(seen, hostA, "web-b", watch.signal);
    await vi.waitFor(() => {
      expect(seen.join("")).toContain("changed");
    }, SOON);
    await rabbit.kill9();
    await vi.waitFor(async () => {
      expect((await hostA.get<Health>("/health")).body.peers?.state).toBe("disconnected");
    }, SOON);
    const local = await hostA.set("web-a", "com.example.local", "1", { waitFor: "delivered" });
    expect(local.state).toBe("delivered");
    const remote = await hostA.get("/v1/vms/web-b/keys/com.example.role");
    expect(code(remote)).toBe("unreachable");
    await hostB.set("web-b", "com.example.meanwhile", "1", { waitFor: "delivered" });
    await rabbit.restart();
    await vi.waitFor(async () => {
      expect((await hostA.get("/v1/vms/web-b/info")).status).toBe(200);
    }, SOON);
    await hostB.set("web-b", "com.example.after", "1", { waitFor: "delivered" });
    await vi.waitFor(() => {
      expect(seen.join(" ")).toMatch(/com\.example\.meanwhile.*com\.example\.after/);
    }, SOON);
    watch.abort();
  });

  test("that stops says good-bye: nobody waits for it", async () => {
    const { hostA, hostB } = await twoHosts();
    await hostB.kill("SIGTERM");
    const answer = await hostA.get("/v1/vms/web-b");
    expect([answer.status, detail(answer)]).toEqual([503, "no manager has 'web-b' now; it was on hostb"]);
    expect((await listEverywhere(hostA)).managers?.map(({ host }) => host)).toEqual(["hosta"]);
  });

  test("goes on as it was when a new configuration cannot be meant, and with open watches when it can", async () => {
    const { hostA, hostB } = await twoHosts();
    const seen: string[] = [];
    const config = (peers: object) => ({ peers: { url: rabbit.url, keyFile, exchange, ...peers } });
    await hostA.configure(config({ keyFile: "/nowhere/peers.key" }));
    hostA.signal("SIGHUP");
    await vi.waitFor(async () => {
      expect(await hostA.logged("reload-failed")).toHaveLength(1);
    }, SOON);
    expect((await hostA.vm("web-b")).link.state).toBe("up");
    const watching = watchInto(seen, hostA, "web-b", new AbortController().signal);
    await vi.waitFor(() => {
      expect(seen.join("")).toContain("changed");
    }, SOON);
    await hostA.configure(config({ rights: { role: "read" } }));
    hostA.signal("SIGHUP");
    await watching;
    await haveMet(hostA, "web-b");
    await vi.waitFor(async () => {
      expect(code(await hostB.post("/v1/vms/web-a/messages", setting("com.example.a", "1")))).toBe("not-permitted");
    }, SOON);
  });

  test("with another key is not understood, and both say so", async () => {
    exchange = `managers-${randomUUID()}`;
    const hostA = await managerOn("hosta", []);
    const hostB = await managerOn("hostb", [], { keyFile: await newKeyFile() });
    for (const host of [hostA, hostB]) {
      await vi.waitFor(async () => {
        expect(await host.logged("peer-message-refused")).not.toEqual([]);
      }, SOON);
    }
    expect((await hostA.get<Health>("/health")).body.peers?.managers).toEqual([]);
  });
});

/** The events of a stream to its end, by their names. */
async function streamed(manager: ManagerUnderTest, method: string, path: string, body: object): Promise<unknown[]> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const headers = { "content-type": "application/json" };
  const asking = request({ socketPath: manager.socketPath, method, path, headers }, (response) => {
    text(response).then(resolve, reject);
  });
  asking.on("error", reject).end(JSON.stringify(body));
  return [...(await promise).matchAll(/^event: (.*)\ndata: (.*)$/gm)].map(([, event, data = ""]) => {
    return [event, JSON.parse(data) as unknown];
  });
}

/** What a watch says, as it comes, till aborted; settles when it has ended. */
function watchInto(seen: string[], manager: ManagerUnderTest, vm: string, signal: AbortSignal): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const options = { socketPath: manager.socketPath, path: `/v1/vms/${vm}/watch`, signal };
  const asking = request(options, (response) => {
    response.setEncoding("utf8").on("data", (piece: string) => seen.push(piece));
    response.on("error", () => undefined);
    response.on("close", () => {
      resolve(undefined);
    });
  });
  asking.on("error", () => undefined).end();
  return promise;
}

/** The VMs in a manager's own list. */
async function ownOf(manager: ManagerUnderTest): Promise<ListedVm[]> {
  const { body } = await manager.get<VmList>("/v1/vms");
  return body.vms.map(({ name, id, channel }) => ({ name, uuid: id, socket: channel ?? "/nowhere" }));
}

/** On whose host the VM is, in the list of all. */
async function heldBy(manager: ManagerUnderTest, vm: string): Promise<string | undefined> {
  return (await listEverywhere(manager)).vms.find(({ name }: VmSummary) => name === vm)?.host;
}

async function queuedIn(broker: RabbitUnderTest): Promise<number> {
  const lines = (await broker.ctl("list_queues", "messages")).split("\n");
  return lines.reduce((sum, line) => sum + (Number(line) || 0), 0);
}
