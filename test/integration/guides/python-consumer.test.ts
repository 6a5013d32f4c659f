/** The guide to a consumer in Python, as it is written, with a real RabbitMQ; and what the guide does not show of the program. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import * as amqp from "amqplib";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { cloudEvent } from "../../../manager/events/bodies.ts";
import { type Event, managerEvent } from "../../../manager/events/event.ts";
import { routingKey } from "../../../manager/events/topic.ts";
import { HOST, nextEvent, web2 } from "../../unit/manager/sinks/events.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../support/rabbitmq.ts";
import { linksOf, play } from "./guide.ts";
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
    replacements: [["@127.0.0.1/", `@127.0.0.1:${rabbit.port}/`]],
    standIns: { rabbitmqctl: (_lab, words) => rabbit.ctl(...words) },
  });
  await play("python-consumer.md", lab);
});

test("the guide leads to files that are there", () => {
  expect(linksOf("python-consumer.md").filter((path) => !existsSync(path))).toEqual([]);
});
