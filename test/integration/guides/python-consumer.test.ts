/** The guide to a consumer in Python, as it is written, with a real RabbitMQ; and what the guide does not show of the program. */
import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import * as amqp from "amqplib";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { cloudEvent } from "../../../manager/events/bodies.ts";
import { type Event, managerEvent } from "../../../manager/events/event.ts";
import { routingKey } from "../../../manager/events/topic.ts";
import { HOST, nextEvent, web2 } from "../../unit/manager/sinks/events.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../support/rabbitmq.ts";
import { linksOf, play, wordsOf } from "./guide.ts";
import { GuideLab, root } from "./lab.ts";

const run = promisify(execFile);
const program = join(root, "examples", "python-consumer", "consume.py");
const EXCHANGE = "cloudstack-events";
const ALL_OF_VMS = "*.*.*.VirtualMachine.*";

let rabbit: RabbitUnderTest;

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
}, RABBIT_HOOK_TIMEOUT_MS);

afterAll(() => rabbit.close());

test("the guide's commands print what it shows", { timeout: 240_000 }, async () => {
  await using lab = await GuideLab.open({
    replacements: [
      ["@127.0.0.1/", `@127.0.0.1:${rabbit.port}/`],
      ["@127.0.0.1?", `@127.0.0.1:${rabbit.port}?`],
    ],
    standIns: {
      rabbitmqctl: async (_lab, typed) => {
        const words = await wordsOf(typed.join(" "));
        if (words[0] === "purge_queue") await untilFilled(words[1] ?? "");
        return rabbit.ctl(...words);
      },
    },
  });
  await play("python-consumer.md", lab);
});

test("the guide leads to files that are there", () => {
  expect(linksOf("python-consumer.md").filter((path) => !existsSync(path))).toEqual([]);
});

describe("the consumer", () => {
  let directory: string;
  let queue: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "consumer-"));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    queue = `queue-${randomUUID()}`;
    await writeFile(join(directory, "url"), `${rabbit.url}/`);
    await withChannel((channel) => channel.assertExchange(EXCHANGE, "topic", { durable: true }));
  });

  const args = (...bindings: string[]): string[] => {
    const files = ["--url-file", join(directory, "url"), "--state", join(directory, "seen.db")];
    return [...files, "--queue", queue, ...bindings];
  };

  /** What it prints until its queue is empty. */
  async function read(...bindings: string[]): Promise<string[]> {
    const { stdout } = await run(program, ["--once", ...args(...bindings)]);
    return stdout.split("\n").slice(0, -1);
  }

  test("prints what came while it did not run, each event once, also over its restarts", async () => {
    expect(await read(ALL_OF_VMS)).toEqual([]);
    const [first, second] = [numbered(1), numbered(2)];
    await publish(first, second, first);
    expect(await read(ALL_OF_VMS)).toEqual(["web1: 1 VM.RUNNING 'Running'", "web1: 2 VM.RUNNING 'Running'"]);
    await publish(second, numbered(3));
    expect(await read(ALL_OF_VMS)).toEqual(["web1: 3 VM.RUNNING 'Running'"]);
  });

  test("says which numbers of which VM are missing, and what comes late", async () => {
    await read(ALL_OF_VMS);
    await publish(numbered(5), numbered(9, web2), numbered(7));
    expect(await read(ALL_OF_VMS)).toEqual([
      "web1: 5 VM.RUNNING 'Running'",
      "web2: 9 VM.RUNNING 'Running'",
      "web1: 6 is missing",
      "web1: 7 VM.RUNNING 'Running'",
    ]);
    await publish(numbered(10), numbered(6), numbered(10, web2));
    expect(await read(ALL_OF_VMS)).toEqual([
      "web1: 8 to 9 are missing",
      "web1: 10 VM.RUNNING 'Running'",
      "web1: 6 VM.RUNNING 'Running' (late)",
      "web2: 10 VM.RUNNING 'Running'",
    ]);
  });

  test("takes the numbers of another host for no gap, when a VM moves there and back", async () => {
    await read(ALL_OF_VMS);
    await publish(numbered(7), numbered(8));
    await publishFrom("hostb", numbered(1), numbered(2));
    expect(await read(ALL_OF_VMS)).toEqual([
      "web1: 7 VM.RUNNING 'Running'",
      "web1: 8 VM.RUNNING 'Running'",
      "web1: now told of by hostb, with numbers of its own",
      "web1: 1 VM.RUNNING 'Running'",
      "web1: 2 VM.RUNNING 'Running'",
    ]);
    await publish(numbered(9));
    await publishFrom("hostb", numbered(4));
    expect(await read(ALL_OF_VMS)).toEqual([
      `web1: now told of by ${HOST}, with numbers of its own`,
      "web1: 9 VM.RUNNING 'Running'",
      "web1: now told of by hostb, with numbers of its own",
      "web1: 3 is missing",
      "web1: 4 VM.RUNNING 'Running'",
    ]);
  });

  test("counts what a guest says with what its host's manager says of it", async () => {
    await read(ALL_OF_VMS);
    await publish(numbered(1), { ...numbered(2), source: "guest", type: "GUEST.READY" }, numbered(3));
    expect((await read(ALL_OF_VMS)).map((line) => line.split(" ")[1])).toEqual(["1", "2", "3"]);
  });

  test("says nothing of numbers that its bindings leave out", async () => {
    const binding = "*.*.VM-RUNNING.VirtualMachine.*";
    await read(binding);
    await publish(numbered(1), { ...numbered(2), type: "VM.STOPPED" }, numbered(3));
    expect(await read(binding)).toEqual(["web1: 1 VM.RUNNING 'Running'", "web1: 3 VM.RUNNING 'Running'"]);
  });

  test("takes events of the manager too, and passes what is no event", async () => {
    await read("#");
    await withChannel(async (channel) => {
      for (const body of [
        "no JSON",
        "[]",
        "{}",
        '{"id":"x","sequence":"1","data":{},"type":"z"}',
        '{"id":"x","source":"//h/s","sequence":"y","data":{},"type":"z"}',
      ]) {
        channel.publish(EXCHANGE, "a.b", Buffer.from(body));
      }
      await channel.waitForConfirms();
    });
    const alert = managerEvent("ALERT.DISK-FULL", Date.now());
    await publish({ ...alert, id: randomUUID(), sequence: 4, position: 1 });
    expect(await read("#")).toEqual(["the manager: 4 ALERT.DISK-FULL"]);
  });

  test("that is killed goes on where it was, and waits for a broker that is away", { timeout: 180_000 }, async () => {
    const printed: string[] = [];
    const start = () => {
      const child = spawn(program, args(ALL_OF_VMS), { stdio: ["ignore", "pipe", "ignore"] });
      onTestFinished(() => void child.kill("SIGKILL"));
      child.stdout.setEncoding("utf8").on("data", (piece: string) => printed.push(piece));
      return child;
    };
    const until = (sequence: number): Promise<void> => {
      return vi.waitFor(() => {
        expect(printed.join("")).toContain(`web1: ${sequence} `);
      }, SOON);
    };
    await read(ALL_OF_VMS);
    const consumer = start();
    await publish(numbered(1));
    await until(1);
    consumer.kill("SIGKILL");
    await publish(numbered(2));
    start();
    await until(2);
    await rabbit.restart();
    await publish(numbered(3));
    await until(3);
    // It may have been killed after it printed and before it noted that.
    expect([...new Set(printed.join("").split("\n"))].slice(0, -1)).toEqual(
      [1, 2, 3].map((number) => `web1: ${number} VM.RUNNING 'Running'`),
    );
  });
});

const SOON = { timeout: 60_000, interval: 50 };

function numbered(sequence: number, vm?: typeof web2): Event {
  const ofVm = vm === undefined ? {} : { resourceUUID: vm.id, resourceName: vm.name };
  return nextEvent({ ...ofVm, id: randomUUID(), sequence, newState: "Running" });
}

function publish(...events: Event[]): Promise<void> {
  return publishFrom(HOST, ...events);
}

/** As the manager of this host does. */
async function publishFrom(host: string, ...events: Event[]): Promise<void> {
  await withChannel(async (channel) => {
    for (const event of events) {
      const body = Buffer.from(JSON.stringify(cloudEvent(event, host)));
      channel.publish(EXCHANGE, routingKey(event), body, { persistent: true, messageId: event.id });
    }
    await channel.waitForConfirms();
  });
}

/** Settles when the broker has something for whoever reads this queue. */
async function untilFilled(queue: string): Promise<void> {
  await withChannel((channel) => {
    return vi.waitUntil(async () => (await channel.checkQueue(queue)).messageCount > 0, SOON);
  });
}

async function withChannel<T>(work: (channel: amqp.ConfirmChannel) => Promise<T>): Promise<T> {
  const connection = await amqp.connect(rabbit.url);
  try {
    return await work(await connection.createConfirmChannel());
  } finally {
    await connection.close();
  }
}
