/** Managers that meet over TLS: a real RabbitMQ with a certificate of an authority, real managers, real agents. */
import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import type { Health, Problem } from "../../../../shared/api/schemas.ts";
import { type Outcome, startVmmessage, vmmessage } from "../../host-cli/programs.ts";
import { AgentUnderTest } from "../../support/agents.ts";
import { type ListedVm, ManagerUnderTest } from "../../support/managers.ts";
import { freePort } from "../../support/ports.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../../support/rabbitmq.ts";
import { Authority } from "./authority.ts";

const vmmessaged = join(import.meta.dirname, "..", "..", "..", "..", "dist", "vmmessaged.js");
const SOON = { timeout: 60_000, interval: 100 };
const PASSWORD = "Managers-Password";

/** RabbitMQ shows the authority's certificate with its own. */
const NOT_OF_THAT_AUTHORITY = "self-signed certificate in certificate chain (SELF_SIGNED_CERT_IN_CHAIN)";

let directory: string;
let keyFile: string;
let passwordFile: string;
/** Of the broker's certificate. */
let authority: Authority;
/** Nobody's here. */
let otherAuthority: Authority;
let rabbit: RabbitUnderTest;
let tlsPort: number;
/** Each test has an exchange of its own: managers of others are not met there. */
let exchange: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "peers-tls-"));
  [keyFile, passwordFile] = [join(directory, "peers.key"), join(directory, "mq.password")];
  await writeFile(keyFile, randomBytes(32).toString("hex"), { mode: 0o600 });
  await writeFile(passwordFile, `${PASSWORD}\n`, { mode: 0o600 });
  authority = await Authority.make(directory, "ours");
  otherAuthority = await Authority.make(directory, "theirs");
  const { certPath, keyPath } = await authority.issue("broker", "IP:127.0.0.1");
  tlsPort = await freePort();
  rabbit = await RabbitUnderTest.start(
    [
      `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
      `ssl_options.certfile = ${certPath}`,
      `ssl_options.keyfile = ${keyPath}`,
      `ssl_options.cacertfile = ${authority.path}`,
    ].join("\n"),
  );
  await rabbit.ctl("add_user", "vmmessage", PASSWORD);
  await rabbit.ctl("set_permissions", "vmmessage", "^managers-", "^managers-", "^managers-");
}, RABBIT_HOOK_TIMEOUT_MS);

afterAll(async () => {
  await rabbit.close();
  await rm(directory, { recursive: true, force: true });
});

/** The section of a manager whose broker has to have a certificate of that authority. */
function peersBy(ca: string | undefined, host = "127.0.0.1") {
  const url = `amqps://vmmessage@${host}:${tlsPort}`;
  return { url, passwordFile, keyFile, exchange, ...(ca !== undefined && { ca }) };
}

/** What makes a program one of a host of this name: a UTS namespace of its own. */
function named(host: string): string[] {
  return ["unshare", "--uts", "sh", "-c", `hostname ${host}; exec "$0" "$@"`];
}

async function managerOn(host: string, vm: ListedVm, peers: object): Promise<ManagerUnderTest> {
  const manager = await ManagerUnderTest.start([vm], { peers }, { wrapper: named(host) });
  onTestFinished(() => manager[Symbol.asyncDispose]());
  return manager;
}

async function listedAgent(name: string): Promise<[AgentUnderTest, ListedVm]> {
  const agent = await AgentUnderTest.start();
  onTestFinished(() => agent[Symbol.asyncDispose]());
  return [agent, { name, socket: agent.channelPath, uuid: randomUUID() }];
}

/** hosta as `peers` has it, with web-a, and hostb as it should be, with web-b. */
async function twoHosts(peersOfA: () => object) {
  exchange = `managers-${randomUUID()}`;
  const [[agentA, webA], [agentB, webB]] = await Promise.all([listedAgent("web-a"), listedAgent("web-b")]);
  const [hostA, hostB] = await Promise.all([
    managerOn("hosta", webA, peersOfA()),
    managerOn("hostb", webB, peersBy(authority.path)),
  ]);
  await hostA.untilLink("web-a", "up");
  await hostB.untilLink("web-b", "up");
  return { hostA, hostB, agentA, agentB };
}

async function haveMet({ hostA, hostB }: { hostA: ManagerUnderTest; hostB: ManagerUnderTest }): Promise<void> {
  await hostA.untilLink("web-b", "up");
  await hostB.untilLink("web-a", "up");
}

async function peersOf(manager: ManagerUnderTest): Promise<Health["peers"]> {
  return (await manager.get<Health>("/health")).body.peers;
}

/** `vmmessage` on that manager's host. */
function ask(manager: ManagerUnderTest, ...args: string[]): Promise<Outcome> {
  return vmmessage(args, { env: { VMMESSAGE_MANAGER: manager.socketPath } });
}

/** `vmmessaged check` on hosta, with that manager's configuration: its exit code, and what it prints of peers. */
function checked(manager: ManagerUnderTest): Promise<{ code: number; lines: string[] }> {
  const [command = "", ...args] = [...named("hosta"), process.execPath, vmmessaged, "check", ...manager.runArguments];
  return new Promise((resolve) => {
    execFile(command, args, (error, stdout) => {
      const lines = stdout.split("\n").filter((line) => line.includes("  peers"));
      resolve({ code: error === null ? 0 : Number(error.code), lines });
    });
  });
}

describe("managers whose broker speaks TLS", { timeout: 120_000 }, () => {
  test("reach each other's VMs with vmmessage, both ways, and a watch shows what changes there", async () => {
    const hosts = await twoHosts(() => peersBy(authority.path));
    const { hostA, hostB, agentA, agentB } = hosts;
    await haveMet(hosts);
    const sent = await ask(hostA, "-v", "web-b", "-k", "com.example.role", "-V", "frontend");
    expect(sent).toMatchObject({ code: 0, stderr: "" });
    expect(sent.stdout).toContain("Message sent successfully.\n");
    expect(await agentB.list()).toContain('{"com.example.role":"frontend"}');
    expect((await ask(hostA, "-v", "web-b", "-q", "com.example.role", "--quiet")).stdout).toBe("frontend\n");
    expect(await ask(hostB, "-v", "web-a", "-k", "com.example.role", "-V", "backend")).toMatchObject({ code: 0 });
    expect(await agentA.list()).toContain('{"com.example.role":"backend"}');
    const env = { VMMESSAGE_MANAGER: hostA.socketPath };
    const watch = startVmmessage(["watch", "com.example.", "-v", "web-b"], { env });
    await agentB.run("-p", "com.example.ready=yes");
    await vi.waitUntil(() => watch.stdout.includes("com.example.ready = 'yes'\n"), SOON);
  });

  test("say so in health, and vmmessaged check finds the others", async () => {
    const hosts = await twoHosts(() => peersBy(authority.path));
    await haveMet(hosts);
    const { hostA } = hosts;
    const broker = `amqps://vmmessage@127.0.0.1:${tlsPort}`;
    const managers = [{ host: "hostb", vms: 1 }];
    expect(await peersOf(hostA)).toMatchObject({ broker, state: "connected", managers });
    expect((await ask(hostA, "health")).stdout).toMatch(
      new RegExp(`^other managers +connected \\(${broker}\\)\n +hostb: 1 VM`, "m"),
    );
    const { code, lines } = await checked(hostA);
    expect(lines.slice(1)).toEqual([
      `ok    peers broker: ${broker}?exchange=${exchange} lets us do what managers do`,
      "ok    peers: hostb answered, with the same key",
    ]);
    expect(code).toBe(0);
  });

  test("may know several authorities in one file, as while a new one takes over", async () => {
    const both = join(directory, "both.pem");
    await writeFile(
      both,
      (await Promise.all([otherAuthority, authority].map(({ path }) => readFile(path)))).join("\n"),
    );
    const hosts = await twoHosts(() => peersBy(both));
    await haveMet(hosts);
    expect(await peersOf(hosts.hostA)).toMatchObject({ state: "connected" });
  });
});

test("managers trust the authorities that the system trusts, where none is configured", async () => {
  exchange = `managers-${randomUUID()}`;
  const wrapper = ["env", `SSL_CERT_FILE=${authority.path}`];
  const manager = await ManagerUnderTest.start([], { peers: peersBy(undefined) }, { wrapper });
  onTestFinished(() => manager[Symbol.asyncDispose]());
  const peers = await vi.waitFor(async () => {
    const found = await peersOf(manager);
    expect(found?.state === "connected" || found?.reason?.startsWith("TLS with")).toBe(true);
    return found;
  }, SOON);
  expect(peers).toMatchObject({ state: "connected" });
});

describe("a broker that is not the one that is meant", { timeout: 120_000 }, () => {
  test.each<[string, string, () => object]>([
    ["whose certificate is of another authority", NOT_OF_THAT_AUTHORITY, () => peersBy(otherAuthority.path)],
    ["whose authority is not named, and the system does not know it", NOT_OF_THAT_AUTHORITY, () => peersBy(undefined)],
    [
      "whose certificate is for another name",
      "Hostname/IP does not match certificate's altnames (ERR_TLS_CERT_ALTNAME_INVALID)",
      () => peersBy(authority.path, "localhost"),
    ],
  ])("%s is refused: health and check say why, and local work goes on", async (_, words, peers) => {
    const { hostA, hostB, agentA } = await twoHosts(peers);
    const host = (peers() as { url: string }).url.includes("localhost") ? "localhost" : "127.0.0.1";
    const reason = `TLS with ${host}:${tlsPort} failed: ${words}`;
    await vi.waitFor(async () => {
      expect(await peersOf(hostA)).toMatchObject({ state: "disconnected", reason, managers: [] });
    }, SOON);
    expect((await hostA.get<Health>("/health")).body.status).toBe("degraded");
    expect((await ask(hostA, "health")).stdout).toContain(reason);
    const { code, lines } = await checked(hostA);
    expect(lines.slice(1)).toEqual([`FAIL  peers broker: ${reason}`]);
    expect(code).toBe(2);

    const local = await ask(hostA, "-v", "web-a", "-k", "com.example.local", "-V", "1");
    expect(local).toMatchObject({ code: 0, stderr: "" });
    expect(await agentA.list()).toContain('{"com.example.local":"1"}');
    const { status, body } = await hostA.get<Problem>("/v1/vms/web-b");
    expect({ status, body }).toMatchObject({ status: 503, body: { code: "unreachable" } });
    expect(body.detail).toContain(reason);
    // It has said nothing to the one that it does not trust: not even who it is.
    expect((await peersOf(hostB))?.managers).toEqual([]);
    expect(`${await hostA.log()}${JSON.stringify(lines)}`).not.toContain(PASSWORD);
  });

  test("is met when the authority is mended and the configuration applied, without a restart", async () => {
    const hosts = await twoHosts(() => peersBy(otherAuthority.path));
    const { hostA, agentB } = hosts;
    await vi.waitFor(async () => {
      expect(await peersOf(hostA)).toMatchObject({ state: "disconnected" });
    }, SOON);
    await hostA.configure({ peers: peersBy(authority.path) });
    hostA.signal("SIGHUP");
    await haveMet(hosts);
    expect(await ask(hostA, "-v", "web-b", "-k", "com.example.role", "-V", "frontend")).toMatchObject({ code: 0 });
    expect(await agentB.list()).toContain('{"com.example.role":"frontend"}');
  });

  test("whose authority's file is not there keeps the manager from starting, and its name is said", async () => {
    exchange = `managers-${randomUUID()}`;
    const nowhere = join(directory, "nowhere.pem");
    const starting = ManagerUnderTest.start([], { peers: peersBy(nowhere) });
    await expect(starting).rejects.toThrow(nowhere);
  });
});
