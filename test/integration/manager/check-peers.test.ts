/** What `vmmessaged check` finds out of managers on other hosts, with a real RabbitMQ. */
import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import * as amqp from "amqplib";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { parseConfig, type PeersConfig } from "../../../manager/config.ts";
import { BrokerTransport } from "../../../manager/peers/broker/broker-transport.ts";
import { OtherKeys } from "../../../manager/peers/broker/other-keys.ts";
import { readPeerKey } from "../../../manager/peers/broker/peer-key.ts";
import { Sealer } from "../../../manager/peers/broker/seal.ts";
import { checkPeers } from "../../../manager/peers/check-peers.ts";
import { Directory } from "../../../manager/peers/holders/directory.ts";
import type { WireMessage } from "../../../manager/peers/wire.ts";
import type { Log } from "../../../shared/log.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../support/rabbitmq.ts";

const SOON = { timeout: 20_000, interval: 20 };
const silent: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };
const WEB1 = { id: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11", name: "web1" };
const WEB2 = { id: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e12", name: "web2" };

let rabbit: RabbitUnderTest;
let directory: string;
let keyFile: string;
let exchange: string;

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
}, RABBIT_HOOK_TIMEOUT_MS);

afterAll(() => rabbit.close());

beforeEach(async (context) => {
  directory = await mkdtemp(join(tmpdir(), "check-peers-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  exchange = `peers-${context.task.id}`;
  keyFile = await newKeyFile("peers.key");
});

async function newKeyFile(name: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600 });
  return path;
}

/** What the steps printed, one a line. */
async function checked(changes: Partial<PeersConfig> = {}): Promise<string[]> {
  const peers = { url: rabbit.url, keyFile, exchange, ...changes };
  const config = parseConfig({ peers }, "the test").peers;
  if (config === undefined) throw new Error("the test's configuration has no peers");
  const lines: string[] = [];
  await checkPeers(config, hostname(), async (name, work) => {
    const { isWell, found } = await work().then(
      (words) => ({ isWell: true, found: words }),
      (error: unknown) => ({ isWell: false, found: (error as Error).message }),
    );
    lines.push(`${isWell ? "ok" : "FAIL"} ${name}: ${found}`);
    return isWell;
  });
  return lines;
}

/** As much of a manager as says that it is there, and that it holds a VM. */
async function startManager(host: string, keyPath = keyFile, vm = WEB1): Promise<Directory> {
  const key = readPeerKey(keyPath);
  const transport = new BrokerTransport({ broker: rabbit.broker(), exchange, key, host, log: silent });
  const announced = new Directory({ transport, log: silent });
  const otherKeys = new OtherKeys(() => void transport.send({ type: "everyone" }, { type: "alive" }, 5_000));
  transport.start({
    received: (message, from) => {
      if (message.type === "announce" || message.type === "bye") announced.take(message, from);
    },
    connected: () => {
      announced.connected();
    },
    disconnected: () => {
      announced.disconnected();
    },
    lost: () => undefined,
    otherKey: () => {
      otherKeys.heard();
    },
  });
  onTestFinished(async () => {
    announced.disconnected();
    await transport.close();
  });
  await vi.waitUntil(async () => (await transport.claim(vm.id)) === "held", SOON);
  announced.hold(vm);
  return announced;
}

/** Says to everyone, until the test ends, that it is a manager whose clock is so far ahead. */
async function announceWithClock(host: string, aheadMs: number): Promise<void> {
  const connection = await amqp.connect(rabbit.url);
  const channel = await connection.createChannel();
  await channel.assertExchange(exchange, "direct", { durable: true });
  const from = { id: randomBytes(16).toString("hex"), host };
  const sealer = new Sealer(readPeerKey(keyFile), from.id);
  const timer = setInterval(() => {
    const message: WireMessage = { type: "announce", revision: 0, vms: [], wants: false };
    const sealed = sealer.seal({ from, sentAt: Date.now() + aheadMs, message }, "managers");
    if (sealed.type === "sealed") channel.publish(exchange, "managers", sealed.envelope);
  }, 50);
  onTestFinished(async () => {
    clearInterval(timer);
    await connection.close();
  });
}

const fingerprintOf = (path: string): string => readPeerKey(path).fingerprint;

test("where nobody else is, the fingerprint is shown that the key must have on other hosts", async () => {
  expect(await checked()).toEqual([
    `ok peers key: ${keyFile}, its fingerprint is ${fingerprintOf(keyFile)}`,
    `ok peers broker: amqp://guest@127.0.0.1:${rabbit.port}?exchange=${exchange} lets us do what managers do`,
    "ok peers: nobody else is there yet; on other hosts the key has to have the same fingerprint",
  ]);
});

test("managers of other hosts with the same key are named, and keep what they hold", async () => {
  const here = await startManager(hostname());
  expect((await checked()).at(-1)).toMatch(/^ok peers: nobody else is there yet/);
  const there = await startManager("hostb", keyFile, WEB2);
  expect((await checked()).at(-1)).toBe("ok peers: hostb answered, with the same key");
  expect(there.all().map(({ vm }) => vm)).toEqual([WEB1]);
  expect(here.all().map(({ vm }) => vm)).toEqual([WEB2]);
});

test.each([
  ["others'", "hostb", "hostb"],
  ["ours", hostname(), hostname()],
])("two managers on hosts of one name are noticed, also when it is %s", async (_, name, told) => {
  const first = await startManager(name);
  expect((await checked()).at(-1)).toMatch(/^ok peers: /);
  await startManager(name, keyFile, WEB2);
  expect((await checked()).at(-1)).toBe(
    `FAIL peers: two managers are on hosts called ${told}; hosts need names of their own`,
  );
  expect(first.peers().map(({ host }) => host)).toEqual([name]);
});

test("a manager that says farewell meanwhile is not counted, so that one may be started anew", async () => {
  const key = readPeerKey(keyFile);
  const leaving = new BrokerTransport({ broker: rabbit.broker(), exchange, key, host: "hostb", log: silent });
  const everyone = (message: WireMessage) => void leaving.send({ type: "everyone" }, message, 5_000);
  leaving.start({
    received: (message) => {
      if (message.type !== "announce") return;
      everyone({ type: "announce", revision: 0, vms: [], wants: false });
      everyone({ type: "bye" });
    },
    connected: () => undefined,
    disconnected: () => undefined,
    lost: () => undefined,
  });
  onTestFinished(() => leaving.close());
  await vi.waitUntil(async () => (await leaving.claim(WEB2.id)) === "held", SOON);
  await startManager("hostb");
  expect((await checked()).at(-1)).toBe("ok peers: hostb answered, with the same key");
});

test("a check leaves nothing behind: managers have not heard of one more", async () => {
  const here = await startManager(hostname());
  await startManager("hostb", keyFile, WEB2);
  await checked();
  expect(here.peers().map(({ host }) => host)).toEqual(["hostb"]);
});

test("a manager with another key is found out, whether it began before or after", async () => {
  const theirs = await newKeyFile("other.key");
  await startManager("hostb", theirs);
  const remedy = `copy ${keyFile} of one host to all of them`;
  const keys = `fingerprint ${fingerprintOf(theirs)}, ours is ${fingerprintOf(keyFile)}`;
  expect((await checked()).at(-1)).toBe(`FAIL peers: a manager seals with another key (${keys}); ${remedy}`);
});

test("a clock that differs by more than a request lives is said", async () => {
  await announceWithClock("hostb", -60_000);
  expect((await checked()).at(-1)).toBe(
    "FAIL peers: the clock of hostb is 60 s behind ours, and requests expire within seconds; set the clocks of all hosts",
  );
});

test("a key file that others may read is refused, and nothing is asked of the broker", async () => {
  await chmod(keyFile, 0o644);
  const lines = await checked({ url: "amqp://127.0.0.1:1" });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("is open to others than its owner (0644)");
});

test("a broker that is not there is said at once", { timeout: 5_000 }, async () => {
  const lines = await checked({ url: "amqp://127.0.0.1:1" });
  expect(lines.slice(1)).toEqual(["FAIL peers broker: 127.0.0.1:1 refused the connection; is the broker running?"]);
});

test("rights that the broker's user lacks are said, each with what the broker says", { timeout: 120_000 }, async () => {
  const all = "^peers-";
  const none = "^$";
  const noVms = `^${exchange}([.]manager[.].*)?$`;
  const refused = /ACCESS_REFUSED - access to (exchange|queue) .* refused for user/;
  const users: [permissions: Permissions, outcome: RegExp][] = [
    [[none, all, all], /^FAIL peers broker: .*NOT_FOUND - no exchange/],
    [[all, none, all], new RegExp(`^FAIL peers broker: .*${refused.source}`)],
    [[all, all, none], new RegExp(`^FAIL peers broker: .*${refused.source}`)],
    [[noVms, all, all], new RegExp(`^FAIL peers broker: .*${refused.source}.*docs/peers.md`)],
    [[all, noVms, all], new RegExp(`^FAIL peers broker: .*${refused.source}.*docs/peers.md`)],
    [[all, all, noVms], new RegExp(`^FAIL peers broker: .*${refused.source}.*docs/peers.md`)],
    [[all, all, all], /^ok peers: nobody else/],
  ];
  await addUsers(users.map(([permissions]) => permissions));
  for (const [index, [permissions, outcome]] of users.entries()) {
    const lines = await checked({ url: `amqp://user${index}:Limited-Password@127.0.0.1:${rabbit.port}` });
    expect(lines.at(-1), permissions.join(" ")).toMatch(outcome);
  }
});

type Permissions = [configure: string, write: string, read: string];

/** user0, user1, ...: in one call, since each starts an Erlang of its own. */
async function addUsers(all: readonly Permissions[]): Promise<void> {
  const users = all.map((permissions, index) => `{${[`user${index}`, ...permissions].map(binary).join(",")}}`);
  const add = `rabbit_auth_backend_internal:add_user(User, ${binary("Limited-Password")}, ${binary("test")})`;
  const permit = `rabbit_auth_backend_internal:set_permissions(User, ${binary("/")}, C, W, R, ${binary("test")})`;
  await rabbit.ctl("eval", `[begin ok = ${add}, ok = ${permit} end || {User, C, W, R} <- [${users.join(",")}]].`);
}

/** Erlang's. */
function binary(text: string): string {
  return `<<"${text}">>`;
}
