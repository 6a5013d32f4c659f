import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { SinkConfig } from "../../../../manager/config.ts";
import { configuredEndpoint } from "../../../../manager/sinks/configured-sinks.ts";
import { newSecret } from "../../../../manager/sinks/standard-webhooks.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-sinks-"));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

const parts = { name: "main", filter: {}, values: false } as const;

function webhook(url: string, secretFiles: string[] = []): SinkConfig {
  return { ...parts, type: "webhook", url, secretFiles, format: "cloudevents" };
}

function amqp(url: string, passwordFile?: string): SinkConfig {
  return { ...parts, type: "amqp", url, passwordFile, exchange: "events", format: "cloudstack" };
}

describe("a sink of the configuration", () => {
  test("has the secrets out of its files", async () => {
    const secret = newSecret();
    await writeFile(join(directory, "secret"), `${secret}\n`);
    expect(configuredEndpoint(webhook("https://hooks.example.com/", [join(directory, "secret")]))).toMatchObject({
      type: "webhook",
      secrets: [secret],
    });
  });

  test.each<[why: string, SinkConfig]>([
    ["the host must be a name", amqp("amqp://")],
    ["the vhost has a slash in it", amqp("amqp://broker/a/b")],
    ["ENOENT", amqp("amqp://broker/", "/nonexistent/password")],
    ["ENOENT", webhook("https://hooks.example.com/", ["/nonexistent/secret"])],
    ["a webhook's user and password must be percent-encoded", webhook("https://user:%zz@hooks.example.com/")],
  ])("is named where something is wrong with it: %s", (why, sink) => {
    expect(() => configuredEndpoint(sink)).toThrow(
      expect.objectContaining({
        name: "CommandError",
        message: expect.stringContaining(`events.sinks: main: ${why}`) as string,
      }),
    );
  });

  test("is named, and its file, where that holds no secret; what it holds is not told", async () => {
    const file = join(directory, "secret");
    await writeFile(file, "hunter2");
    const sink = webhook("https://hooks.example.com/", [file]);
    expect(() => configuredEndpoint(sink)).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(
          /^events\.sinks: main: \/.*\/secret: a webhook's secret must be (?!.*hunter2)/,
        ) as string,
      }),
    );
  });
});
