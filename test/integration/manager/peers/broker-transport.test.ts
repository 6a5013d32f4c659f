/** Managers at a real RabbitMQ: who reaches whom, what a broker's user without the key can do, and what happens to it all. */
import * as amqp from "amqplib";
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { BrokerTransport, type BrokerTransportOptions } from "../../../../manager/peers/broker/broker-transport.ts";
import { PeerKey } from "../../../../manager/peers/broker/peer-key.ts";
import type { Peer, WireMessage } from "../../../../manager/peers/wire.ts";
import { MAX_BODY_BYTES } from "../../../../shared/api/endpoints.ts";
import type { Log } from "../../../../shared/log.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../../support/rabbitmq.ts";
import { keptLog, type LogLine } from "../events/fixtures.ts";
import { CuttableWire } from "./cuttable-wire.ts";

const EXCHANGE = "vmmessage";
const EXPIRES_MS = 5_000;
/** Two heartbeats, and as many again for a machine that is busy. */
const NOTICE_TIMEOUT_MS = 30_000;

const key = new PeerKey(randomBytes(32));
const secret = "hunter2-in-a-value";
const alive: WireMessage = { type: "alive" };
const telling: WireMessage = { type: "answer", of: "c".repeat(32), answer: { name: "payroll-db", value: secret } };

let rabbit: RabbitUnderTest;
let vm: string;
let log: Log;
let lines: LogLine[];
const transports: BrokerTransport[] = [];
const wires: CuttableWire[] = [];

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
}, RABBIT_HOOK_TIMEOUT_MS);

beforeEach(() => {
  vm = randomUUID();
  ({ log, lines } = keptLog());
});

afterEach(async () => {
  await Promise.all(transports.splice(0).map((transport) => transport.close()));
  await Promise.all(wires.splice(0).map((wire) => wire.close()));
});

afterAll(async () => {
  await rabbit.close();
});

describe("managers at one broker", () => {
  it("reach each other by their ids, by a VM that one holds, and all together", async () => {
    const [ada, bob, eve] = await Promise.all([joined("ada"), joined("bob"), joined("eve")]);
    expect(await bob.transport.claim(vm)).toBe("held");
    expect(await ada.transport.send({ type: "manager", id: eve.self.id }, telling, EXPIRES_MS)).toEqual(passed);
    expect(await ada.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(passed);
    expect(await ada.transport.send({ type: "everyone" }, { type: "bye" }, EXPIRES_MS)).toEqual(passed);
    await vi.waitFor(() => {
      expect(eve.received).toEqual([telling, { type: "bye" }]);
      expect(bob.received).toEqual([alive, { type: "bye" }]);
    });
    expect(eve.senders).toEqual([ada.self, ada.self]);
    expect(ada.received).toEqual([]);
  });

  it("are told when nobody is there", async () => {
    const ada = await joined("ada");
    const nobody = { type: "nobody" };
    expect(await ada.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(nobody);
    expect(await ada.transport.send({ type: "manager", id: "0".repeat(32) }, alive, EXPIRES_MS)).toEqual(nobody);
  });

  it("send bodies of several frames, and are told of one that is too large for all", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    const large: WireMessage = { type: "answer", of: "c".repeat(32), answer: "\u20ac".repeat(MAX_BODY_BYTES) };
    const tooLarge: WireMessage = { type: "answer", of: "c".repeat(32), answer: "x".repeat(9 * 1024 * 1024) };
    const toBob = { type: "manager", id: bob.self.id } as const;
    expect(await ada.transport.send(toBob, tooLarge, EXPIRES_MS)).toMatchObject({ type: "not-sent" });
    expect(await ada.transport.send(toBob, large, EXPIRES_MS)).toEqual(passed);
    await vi.waitFor(() => {
      expect(bob.received).toHaveLength(1);
    });
    expect(bob.received[0]).toEqual(large);
  });

  it("tell their announcements apart by their times, which no two of one manager share", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    const announcement: WireMessage = { type: "announce", revision: 1, wants: false };
    const many = Array.from({ length: 50 }, () => ada.transport.send({ type: "everyone" }, announcement, EXPIRES_MS));
    await Promise.all([...many, ada.transport.send({ type: "everyone" }, { type: "bye" }, EXPIRES_MS)]);
    await vi.waitFor(() => {
      expect(bob.times).toHaveLength(51);
    });
    expect([...new Set(bob.times)].sort()).toEqual(bob.times);
  });

  it("go on when one of them has a bug", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    const toBob = { type: "manager", id: bob.self.id } as const;
    bob.fails = true;
    expect(await ada.transport.send(toBob, alive, EXPIRES_MS)).toEqual(passed);
    await vi.waitFor(() => {
      expect(lines).toContainEqual(expect.objectContaining({ event: "peer-listener-failed" }));
    });
    bob.fails = false;
    expect(await ada.transport.send(toBob, telling, EXPIRES_MS)).toEqual(passed);
    await vi.waitFor(() => {
      expect(bob.received).toEqual([telling]);
    });
  });
});

describe("a claim", () => {
  it("is had by one at a time, and by the next when it is released", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    expect(await ada.transport.claim(vm)).toBe("held");
    expect(await ada.transport.claim(vm)).toBe("held");
    expect(await bob.transport.claim(vm)).toBe("taken");
    await ada.transport.release(vm);
    expect(await bob.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual({ type: "nobody" });
    expect(await bob.transport.claim(vm)).toBe("held");
    expect(await ada.transport.claim(vm)).toBe("taken");
    await ada.transport.release(vm);
    expect(await ada.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(passed);
    expect([ada.changes, bob.changes]).toEqual([["connected"], ["connected"]]);
  });

  it("that is refused leaves all others as they are", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    const vms = Array.from({ length: 40 }, () => randomUUID());
    const theirs = vms.filter((_, index) => index % 2 === 0);
    await Promise.all(theirs.map((id) => bob.transport.claim(id)));
    const claims = await Promise.all(vms.map((id) => ada.transport.claim(id)));
    expect(claims).toEqual(vms.map((_, index) => (index % 2 === 0 ? "taken" : "held")));
    const passings = await Promise.all(vms.map((id) => bob.transport.send({ type: "vm", id }, alive, EXPIRES_MS)));
    expect(passings).toEqual(vms.map(() => passed));
    await vi.waitFor(() => {
      expect(ada.received).toHaveLength(20);
    });
  });

  it("and its release are done in the order in which they were asked for", async () => {
    const ada = await joined("ada");
    const { transport } = ada;
    const asked = [transport.claim(vm), transport.release(vm), transport.claim(vm), transport.release(vm)];
    expect(await Promise.all([...asked, transport.claim(vm)])).toEqual(["held", undefined, "held", undefined, "held"]);
    expect(await transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(passed);
    expect(ada.changes).toEqual(["connected"]);
  });

  it("passes on when the holder's connections are cut", async () => {
    const wire = await newWire();
    const [ada, bob] = await Promise.all([joined("ada", { broker: wire.broker }), joined("bob")]);
    expect(await ada.transport.claim(vm)).toBe("held");
    wire.cut();
    await vi.waitFor(async () => {
      expect(await bob.transport.claim(vm)).toBe("held");
    });
    await untilChanged(ada, [
      "connected",
      `disconnected: ${wire.address} closed the connection (ECONNRESET)`,
      "connected",
    ]);
    expect(await ada.transport.claim(vm)).toBe("taken");
    expect(await bob.transport.send({ type: "manager", id: ada.self.id }, alive, EXPIRES_MS)).toEqual(passed);
  });

  it("is lost when somebody deletes the queue, and can be had again", async () => {
    const ada = await joined("ada");
    await ada.transport.claim(vm);
    await rabbit.ctl("delete_queue", `${EXCHANGE}.vm.${vm}`);
    await untilChanged(ada, ["connected", `lost: ${vm}`]);
    expect(await ada.transport.claim(vm)).toBe("held");
  });

  it("takes seconds for a thousand VMs", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    const vms = Array.from({ length: 1_000 }, () => randomUUID());
    const claims = await Promise.all(vms.map((id) => ada.transport.claim(id)));
    expect(new Set(claims)).toEqual(new Set(["held"]));
    await Promise.all(vms.map((id) => bob.transport.send({ type: "vm", id }, alive, EXPIRES_MS)));
    await vi.waitFor(() => {
      expect(ada.received).toHaveLength(1_000);
    });
  });
});

describe("a broker that fails", () => {
  it("is said at once, and why, by whoever is asked to send or claim", async () => {
    const ada = newManager("ada", { broker: rabbit.broker({ port: 1 }) });
    const reason = "127.0.0.1:1 refused the connection; is the broker running?";
    await vi.waitFor(() => {
      expect(ada.transport.connection).toEqual({ state: "disconnected", reason });
    });
    const notSent = { type: "not-sent", reason: `the broker is away: ${reason}` };
    expect(await ada.transport.send({ type: "everyone" }, alive, EXPIRES_MS)).toEqual(notSent);
    expect(await ada.transport.claim(vm)).toBe("away");
    await ada.transport.release(vm);
    expect(ada.changes).toEqual([]);
  });

  it("by kill -9 is connected to again, and nothing is held any more", async () => {
    const managers = await Promise.all([joined("ada"), joined("bob")]);
    const [ada, bob] = managers;
    expect(await ada.transport.claim(vm)).toBe("held");
    await rabbit.restart();
    for (const { changes } of managers) {
      await vi.waitFor(
        () => {
          expect(changes).toEqual(["connected", expect.stringMatching(/^disconnected: /), "connected"]);
        },
        { timeout: 60_000 },
      );
    }
    expect(await ada.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual({ type: "nobody" });
    expect(await bob.transport.claim(vm)).toBe("held");
    expect(await ada.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(passed);
  }, 120_000);

  it("by its operator's hand (close_all_connections) is connected to again", async () => {
    const ada = await joined("ada");
    await rabbit.ctl("close_all_connections", "maintenance");
    await untilChanged(ada, ["connected", expect.stringMatching(/^disconnected: .*maintenance/), "connected"]);
  });

  it("to answer leaves it open what became of a message after five seconds, and passes the VMs on after fifteen", async () => {
    const wire = await newWire();
    const [ada, bob] = await Promise.all([joined("ada", { broker: wire.broker }), joined("bob")]);
    expect(await ada.transport.claim(vm)).toBe("held");
    wire.freeze();
    const frozenAt = performance.now();
    expect(await ada.transport.send({ type: "manager", id: bob.self.id }, alive, EXPIRES_MS)).toEqual({
      type: "unconfirmed",
      reason: `${wire.address} confirmed nothing for 5 s`,
    });
    expect(performance.now() - frozenAt).toBeLessThan(7_000);
    await untilChanged(ada, ["connected", `disconnected: ${wire.address} has been silent for too long`]);
    await vi.waitFor(
      async () => {
        expect(await bob.transport.claim(vm)).toBe("held");
      },
      { timeout: NOTICE_TIMEOUT_MS, interval: 500 },
    );
  }, 90_000);

  it("to take messages is said, and what is held stays held", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    await bob.transport.claim(vm);
    const toVm = { type: "vm", id: vm } as const;
    await rabbit.ctl("set_vm_memory_high_watermark", "0.0000001");
    try {
      expect(await ada.transport.send(toVm, alive, EXPIRES_MS)).toMatchObject({ type: "unconfirmed" });
      const reason = `127.0.0.1:${rabbit.port} takes no messages now: low on memory`;
      const notSent = { type: "not-sent", reason: `the broker is away: ${reason}` };
      expect(await ada.transport.send(toVm, alive, EXPIRES_MS)).toEqual(notSent);
      expect(ada.transport.connection).toEqual({ state: "disconnected", reason });
    } finally {
      await rabbit.ctl("set_vm_memory_high_watermark", "0.4");
    }
    await vi.waitFor(async () => {
      expect(await ada.transport.send(toVm, telling, EXPIRES_MS)).toEqual(passed);
    });
    await vi.waitFor(() => {
      expect(bob.received).toContainEqual(telling);
    });
    expect([ada.changes, bob.changes]).toEqual([["connected"], ["connected"]]);
  });

  it("to hand over in time has room for so many messages, and then refuses them, which may be of a copy", async () => {
    const wire = await newWire();
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob", { broker: wire.broker })]);
    await bob.transport.claim(vm);
    await rabbit.ctl("set_policy", "narrow", `^${EXCHANGE}\\.vm\\.`, '{"max-length":10}', "--apply-to", "queues");
    try {
      wire.freeze();
      const outcomes = Array.from({ length: 80 }, () => ada.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS));
      const types = (await Promise.all(outcomes)).map((passing) =>
        "reason" in passing ? passing.reason : passing.type,
      );
      expect(new Set(types)).toEqual(new Set(["passed", REFUSED]));
    } finally {
      await rabbit.ctl("clear_policy", "narrow");
    }
  });

  it.each<[string, () => Promise<unknown>]>([
    ["a manager's own queue", () => deleteQueueOf(EXCHANGE + ".manager.")],
    ["the exchange, which is not made again by others", () => raw((channel) => channel.deleteExchange(EXCHANGE))],
    ["the exchange, which somebody else makes again", () => raw(remadeExchange)],
  ])("to keep %s is found out, and all is made again", async (_, remove) => {
    const ada = await joined("ada");
    await ada.transport.claim(vm);
    await remove();
    await ada.transport.send({ type: "everyone" }, alive, EXPIRES_MS);
    await untilChanged(ada, ["connected", expect.stringMatching(/^disconnected: /), "connected"]);
    const bob = await joined("bob");
    expect(await ada.transport.claim(vm)).toBe("held");
    expect(await bob.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(passed);
    expect(await bob.transport.send({ type: "manager", id: ada.self.id }, alive, EXPIRES_MS)).toEqual(passed);
    await vi.waitFor(() => {
      expect(ada.received).toHaveLength(2);
    });
  });
});

describe("a user of the broker without the key", () => {
  let mallory: amqp.ChannelModel;
  let channel: amqp.Channel;

  beforeAll(async () => {
    await rabbit.ctl("add_user", "mallory", "pw");
    await rabbit.ctl("set_permissions", "mallory", ".*", ".*", ".*");
  });

  beforeEach(async () => {
    mallory = await amqp.connect(rabbit.url.replace("guest:guest", "mallory:pw"));
    channel = await mallory.createChannel();
  });

  afterEach(async () => {
    await mallory.close();
  });

  it("reads what is sent to everyone and to a VM, and neither a value nor a name in it", async () => {
    const [ada, bob] = await Promise.all([joined("ada-host"), joined("bob-host")]);
    await bob.transport.claim(vm);
    const taken = await tapped(["managers", `vm.${vm}`, `manager.${bob.self.id}`]);
    await ada.transport.send({ type: "vm", id: vm }, telling, EXPIRES_MS);
    await ada.transport.send({ type: "manager", id: bob.self.id }, telling, EXPIRES_MS);
    const vms = [{ id: vm, name: "payroll-db" }];
    await ada.transport.send({ type: "everyone" }, { type: "announce", revision: 1, vms, wants: true }, EXPIRES_MS);
    await vi.waitFor(() => {
      expect(taken).toHaveLength(3);
    });
    for (const { content, properties, fields } of taken) {
      const all = content.toString("latin1") + JSON.stringify([properties, fields]);
      expect(all).not.toMatch(/hunter2|payroll|host|announce|answer/);
    }
  });

  it("makes nothing that is received: of its own, of pieces, of changed copies, or of copies elsewhere", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    await bob.transport.claim(vm);
    const other = randomUUID();
    await bob.transport.claim(other);
    const envelope = await envelopeTo(ada, { type: "vm", id: vm });
    await vi.waitFor(() => {
      expect(bob.received).toEqual([telling]);
    });
    const changed = Buffer.from(envelope);
    changed.writeUInt8(changed.readUInt8(60) ^ 1, 60);
    const evesKey = new PeerKey(randomBytes(32));
    await envelopeTo(await joined("eve", { key: evesKey }), { type: "everyone" });
    const toVm = `vm.${vm}`;
    for (const content of [
      Buffer.alloc(0),
      Buffer.from("{}"),
      randomBytes(200_000),
      envelope.subarray(0, 70),
      changed,
    ]) {
      channel.publish(EXCHANGE, toVm, content);
    }
    for (const elsewhere of ["managers", `vm.${other}`, `manager.${bob.self.id}`]) {
      channel.publish(EXCHANGE, elsewhere, envelope);
    }
    channel.publish("", `${EXCHANGE}.vm.${vm}`, envelope);
    channel.publish(EXCHANGE, toVm, envelope, { CC: [`vm.${other}`, "managers"] });
    await vi.waitFor(() => {
      expect(bob.transport.refusedCounts).toEqual({ "not-ours": 3, damaged: 5, misrouted: 3, "other-key": 1 });
    });
    // The copy under its own key is a replay: the next test.
    expect(bob.received).toEqual([telling, telling]);
    expect(lines).toContainEqual(
      expect.objectContaining({ event: "peer-message-refused", reason: "other-key", fingerprint: evesKey.fingerprint }),
    );
    // Each manager tells the first of a kind, of the six that all of them met.
    const told = lines.filter(({ event }) => event === "peer-message-refused").map(({ reason }) => reason);
    expect(told.filter((reason) => reason === "damaged").length).toBeLessThanOrEqual(3);
    expect(bob.changes).toEqual(["connected"]);
  });

  it("can send an exact copy again, which is received as the same message of the same sender", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    await bob.transport.claim(vm);
    const envelope = await envelopeTo(ada, { type: "vm", id: vm });
    channel.publish(EXCHANGE, `vm.${vm}`, envelope);
    await vi.waitFor(() => {
      expect(bob.received).toEqual([telling, telling]);
    });
    expect(bob.senders).toEqual([ada.self, ada.self]);
  });

  it.each<[string, (channel: amqp.Channel, queue: string, key: string) => Promise<unknown>]>([
    ["consume from", (one, queue) => one.consume(queue, () => undefined)],
    ["get from", (one, queue) => one.get(queue)],
    ["bind", (one, queue) => one.bindQueue(queue, EXCHANGE, "managers")],
    ["unbind", (one, queue, routingKey) => one.unbindQueue(queue, EXCHANGE, routingKey)],
    ["purge", (one, queue) => one.purgeQueue(queue)],
    ["delete", (one, queue) => one.deleteQueue(queue)],
    ["declare", (one, queue) => one.assertQueue(queue, { exclusive: true, autoDelete: true, durable: false })],
  ])("cannot %s the queues of managers", async (_, attempt) => {
    const ada = await joined("ada");
    await ada.transport.claim(vm);
    for (const [queue, routingKey] of [
      [`${EXCHANGE}.vm.${vm}`, `vm.${vm}`],
      [await ownQueueOf(ada), "managers"],
    ] as const) {
      const one = await mallory.createChannel();
      one.on("error", () => undefined);
      await expect(attempt(one, queue, routingKey)).rejects.toMatchObject({ code: 405 });
    }
    const bob = await joined("bob");
    expect(await bob.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(passed);
    expect(ada.changes).toEqual(["connected"]);
  });

  it("can have the broker refuse what arrives, which is not said to have been sent to nobody", async () => {
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    await bob.transport.claim(vm);
    const full = { "x-max-length": 0, "x-overflow": "reject-publish" };
    const { queue } = await channel.assertQueue("", { exclusive: true, arguments: full });
    await channel.bindQueue(queue, EXCHANGE, `vm.${vm}`);
    const passing = await ada.transport.send({ type: "vm", id: vm }, telling, EXPIRES_MS);
    expect(passing).toEqual({ type: "unconfirmed", reason: REFUSED });
    await vi.waitFor(() => {
      expect(bob.received).toEqual([telling]);
    });
  });

  it("cannot know what a manager's own queue is called when it comes back", async () => {
    const wire = await newWire();
    const ada = await joined("ada", { broker: wire.broker });
    for (let number = 1; number <= 5; number += 1) {
      const one = await mallory.createChannel();
      one.on("error", () => undefined);
      await one.assertQueue(`${EXCHANGE}.manager.${ada.self.id}.${number}`, { durable: false }).catch(() => undefined);
    }
    const before = await ownQueueOf(ada);
    wire.cut();
    await untilChanged(ada, ["connected", expect.stringMatching(/^disconnected: /), "connected"]);
    expect(await ownQueueOf(ada)).not.toBe(before);
  });

  it("can keep a VM's queue from us, which is as if another manager had it", async () => {
    const ada = await joined("ada");
    await channel.assertQueue(`${EXCHANGE}.vm.${vm}`, { durable: false });
    expect(await ada.transport.claim(vm)).toBe("taken");
    await channel.deleteQueue(`${EXCHANGE}.vm.${vm}`);
    expect(await ada.transport.claim(vm)).toBe("held");
  });

  /** What it reads there. */
  async function tapped(keys: readonly string[]): Promise<amqp.ConsumeMessage[]> {
    const taken: amqp.ConsumeMessage[] = [];
    const { queue } = await channel.assertQueue("", { exclusive: true });
    for (const one of keys) await channel.bindQueue(queue, EXCHANGE, one);
    await channel.consume(queue, (message) => {
      if (message !== null) taken.push(message);
    });
    return taken;
  }

  async function envelopeTo(from: Manager, to: Parameters<BrokerTransport["send"]>[0]): Promise<Buffer> {
    const taken = await tapped([to.type === "vm" ? `vm.${to.id}` : "managers"]);
    await from.transport.send(to, telling, EXPIRES_MS);
    await vi.waitFor(() => {
      expect(taken).toHaveLength(1);
    });
    return taken[0]?.content ?? Buffer.alloc(0);
  }
});

describe("the broker's user of a manager", () => {
  const ours = `^${EXCHANGE}(\\..*)?$`;

  beforeAll(async () => {
    await rabbit.ctl("add_user", "least", "pw");
  });

  it("needs no more than the exchange and the queues of that name", async () => {
    await raw((channel) => channel.deleteExchange(EXCHANGE));
    await rabbit.ctl("set_permissions", "least", ours, ours, ours);
    await assertOfUse(await joined("ada", { broker: leastBroker() }));
  });

  it("needs not even to make the exchange, where it is there", async () => {
    await raw((channel) => channel.assertExchange(EXCHANGE, "direct", { durable: true }));
    await rabbit.ctl("set_permissions", "least", `^${EXCHANGE}\\.`, ours, ours);
    await assertOfUse(await joined("ada", { broker: leastBroker() }));
  });

  it.each([
    ["configure", ["^$", ours, ours]],
    ["write", [ours, `^${EXCHANGE}\\.`, ours]],
    ["read", [ours, ours, `^${EXCHANGE}\\.`]],
  ])("is told what it may not do: %s", async (_, permissions) => {
    await raw((channel) => channel.assertExchange(EXCHANGE, "direct", { durable: true }));
    await rabbit.ctl("set_permissions", "least", ...permissions);
    const ada = newManager("ada", { broker: leastBroker() });
    await vi.waitFor(() => {
      expect(ada.transport.connection).toEqual({
        state: "disconnected",
        reason: expect.stringMatching(
          /says: ACCESS_REFUSED - access to (exchange|queue) 'vmmessage.*user 'least'/,
        ) as unknown,
      });
    });
    expect(ada.changes).toEqual([]);
  });

  it("is told that the broker makes no more queues, and goes on with those that it has", async () => {
    await raw((channel) => channel.assertExchange(EXCHANGE, "direct", { durable: true }));
    const [ada, bob] = await Promise.all([joined("ada"), joined("bob")]);
    const held = randomUUID();
    expect(await ada.transport.claim(held)).toBe("held");
    const queues = (await rabbit.ctl("list_queues", "--no-table-headers", "name")).trim().split("\n").length;
    await rabbit.ctl("set_vhost_limits", `{"max-queues": ${queues}}`);
    try {
      expect(await ada.transport.claim(vm)).toBe("taken");
      expect(await bob.transport.send({ type: "vm", id: held }, alive, EXPIRES_MS)).toEqual(passed);
    } finally {
      await rabbit.ctl("clear_vhost_limits");
    }
    const reason = expect.stringContaining("queue limit in vhost") as unknown;
    expect(lines).toContainEqual({ event: "peer-claim-refused", vm, reason, suppressed: 0 });
    expect(await ada.transport.claim(vm)).toBe("held");
    expect(ada.changes).toEqual(["connected"]);
  });

  it("is told when it may be there, and hold no VM", async () => {
    await raw((channel) => channel.assertExchange(EXCHANGE, "direct", { durable: true }));
    await rabbit.ctl("set_permissions", "least", `^${EXCHANGE}\\.manager\\.`, ours, ours);
    const ada = await joined("ada", { broker: leastBroker() });
    expect(await Promise.all([ada.transport.claim(vm), ada.transport.claim(randomUUID())])).toEqual(["taken", "taken"]);
    const reason = expect.stringContaining(`ACCESS_REFUSED - access to queue '${EXCHANGE}.vm.${vm}'`) as unknown;
    const refused = { event: "peer-claim-refused", vm, reason, suppressed: 0 };
    expect(lines.filter(({ event }) => event === "peer-claim-refused")).toEqual([refused]);
    expect(ada.changes).toEqual(["connected"]);
  });

  function leastBroker(): BrokerTransportOptions["broker"] {
    return rabbit.broker({ user: "least", password: "pw" });
  }

  async function assertOfUse(ada: Manager): Promise<void> {
    expect(await ada.transport.claim(vm)).toBe("held");
    const bob = await joined("bob");
    expect(await ada.transport.send({ type: "manager", id: bob.self.id }, alive, EXPIRES_MS)).toEqual(passed);
    expect(await bob.transport.send({ type: "vm", id: vm }, alive, EXPIRES_MS)).toEqual(passed);
    await vi.waitFor(() => {
      expect([ada.received, bob.received]).toEqual([[alive], [alive]]);
    });
    await ada.transport.release(vm);
    expect(await bob.transport.claim(vm)).toBe("held");
  }
});

const passed = { type: "passed" };
const REFUSED = "the broker refused it, or only a copy of it; is a queue full?";

/** A transport, and what its listener was told. */
class Manager {
  readonly transport: BrokerTransport;
  readonly received: WireMessage[] = [];
  readonly senders: Peer[] = [];
  readonly times: number[] = [];
  readonly changes: string[] = [];
  fails = false;

  constructor(transport: BrokerTransport) {
    this.transport = transport;
    transport.start({
      received: (message, from, sentAt = 0) => {
        if (this.fails) throw new Error("a bug");
        this.times.push(sentAt);
        this.received.push(message);
        this.senders.push(from);
      },
      connected: () => this.changes.push("connected"),
      disconnected: (reason) => this.changes.push(`disconnected: ${reason}`),
      lost: (vmId) => this.changes.push(`lost: ${vmId}`),
    });
  }

  get self(): Peer {
    return this.transport.self;
  }
}

function newManager(host: string, changes: Partial<BrokerTransportOptions> = {}): Manager {
  const transport = new BrokerTransport({ broker: rabbit.broker(), exchange: EXCHANGE, key, host, log, ...changes });
  transports.push(transport);
  return new Manager(transport);
}

async function joined(host: string, changes: Partial<BrokerTransportOptions> = {}): Promise<Manager> {
  const manager = newManager(host, changes);
  await untilChanged(manager, ["connected"]);
  expect(manager.transport.connection).toEqual({ state: "connected" });
  return manager;
}

async function untilChanged({ changes }: Manager, expected: unknown[]): Promise<void> {
  await vi.waitFor(
    () => {
      expect(changes).toEqual(expected);
    },
    { timeout: NOTICE_TIMEOUT_MS },
  );
}

async function newWire(): Promise<CuttableWire> {
  const wire = await CuttableWire.to(rabbit.broker());
  wires.push(wire);
  return wire;
}

async function raw(work: (channel: amqp.Channel) => Promise<unknown>): Promise<void> {
  const connection = await amqp.connect(rabbit.url);
  await work(await connection.createChannel());
  await connection.close();
}

async function remadeExchange(channel: amqp.Channel): Promise<void> {
  await channel.deleteExchange(EXCHANGE);
  await channel.assertExchange(EXCHANGE, "direct", { durable: true });
}

async function ownQueueOf({ self }: Manager): Promise<string> {
  const names = (await rabbit.ctl("list_queues", "--no-table-headers", "name")).split("\n");
  const own = names.filter((name) => name.startsWith(`${EXCHANGE}.manager.${self.id}.`));
  // Those that somebody else made in its stead have numbers.
  return own.find((name) => /\.[0-9a-f]{32}$/.test(name)) ?? own[0] ?? "";
}

async function deleteQueueOf(prefix: string): Promise<void> {
  const names = (await rabbit.ctl("list_queues", "--no-table-headers", "name")).split("\n");
  for (const name of names.filter((one) => one.startsWith(prefix))) await rabbit.ctl("delete_queue", name);
}
