/** The guide to two hosts and one broker, as it is written: real managers, a real RabbitMQ. It takes root, for the hosts' names. */
import { existsSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../support/rabbitmq.ts";
import { linksOf, play } from "./guide.ts";
import { ManyHostsLab } from "./many-hosts-lab.ts";

let rabbit: RabbitUnderTest;

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
}, RABBIT_HOOK_TIMEOUT_MS);

afterAll(() => rabbit.close());

test("the guide's commands print what it shows", { timeout: 300_000 }, async () => {
  await using lab = await ManyHostsLab.open(rabbit);
  await play("many-hosts.md", lab);
});

test("the guide leads to files that are there", () => {
  expect(linksOf("many-hosts.md").filter((path) => !existsSync(path))).toEqual([]);
});
