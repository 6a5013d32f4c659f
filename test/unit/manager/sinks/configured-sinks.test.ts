import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseConfig, type SinkConfig } from "../../../../manager/config.ts";
import { matcherOf } from "../../../../manager/events/filter.ts";
import { configuredEndpoint, configuredFilter } from "../../../../manager/sinks/configured-sinks.ts";
import { newSecret } from "../../../../manager/sinks/standard-webhooks.ts";
import { HOST, nextEvent } from "./events.ts";

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

/** As the configuration's file says it, with what it leaves out. */
function masakari(sink: object): SinkConfig {
  const { sinks } = parseConfig({ events: { sinks: [{ name: "ha", type: "masakari", ...sink }] } }, "f").events;
  if (sinks[0] === undefined) throw new Error("no sink");
  return sinks[0];
}

describe("a sink of the configuration", () => {
  test("has the secrets out of its files", async () => {
    const secret = newSecret();
    await writeFile(join(directory, "secret"), `${secret}\n`);
    expect(configuredEndpoint(webhook("https://hooks.example.com/", [join(directory, "secret")]), HOST)).toMatchObject({
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
    expect(() => configuredEndpoint(sink, HOST)).toThrow(
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
    expect(() => configuredEndpoint(sink, HOST)).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(
          /^events\.sinks: main: \/.*\/secret: a webhook's secret must be (?!.*hunter2)/,
        ) as string,
      }),
    );
  });
});

describe("Masakari in the configuration", () => {
  const url = "https://keystone.example:5000/v3";

  test("is told of this host by its name, twelve times and every ten seconds, unless it says otherwise", async () => {
    const passwordFile = join(directory, "password");
    await writeFile(passwordFile, "w0rd\n");
    const auth = { method: "password", url, user: "masakari", passwordFile, project: "service" };
    expect(configuredEndpoint(masakari({ auth }), HOST)).toEqual({
      type: "masakari",
      name: "config:ha",
      url: undefined,
      login: {
        method: "password",
        url,
        user: "masakari",
        userDomain: "Default",
        password: "w0rd",
        project: "service",
        projectDomain: "Default",
      },
      region: undefined,
      interface: "public",
      ca: undefined,
      hostname: HOST,
      events: {
        "VM.HUNG": "QEMU_GUEST_AGENT_ERROR",
        "VM.APPLICATION-FAILED": "QEMU_GUEST_AGENT_ERROR",
        "VM.CRASHED": "LIFECYCLE",
        "VM.IO-ERROR": "IO_ERROR",
      },
      retryMax: 12,
      retryIntervalMs: 10_000,
    });
  });

  test("has what its files hold", async () => {
    const files = { secretFile: join(directory, "secret"), ca: join(directory, "ca.pem") };
    await writeFile(files.secretFile, "s3cret\n");
    const [certificate = ""] = rootCertificates;
    await writeFile(files.ca, `${certificate}\n`);
    const auth = { method: "application-credential", url, id: "21dc", secretFile: files.secretFile };
    const sink = masakari({ auth, ca: files.ca, hostname: "compute-1", region: "RegionTwo", interface: "internal" });
    expect(configuredEndpoint(sink, HOST)).toMatchObject({
      login: { method: "application-credential", url, id: "21dc", secret: "s3cret" },
      ca: certificate.trim(),
      hostname: "compute-1",
      region: "RegionTwo",
      interface: "internal",
    });
  });

  test("has no authority whose file has no certificate in it", async () => {
    const ca = join(directory, "ca.pem");
    await writeFile(ca, "not a certificate\n");
    expect(() => configuredEndpoint(masakari({ auth: { method: "none" }, url: "http://m/v1", ca }), HOST)).toThrow(
      `events.sinks: ha: ${ca} has no certificate in it`,
    );
  });

  test("is told of the VMs that its filter has, and of the events that it has a word for", () => {
    const auth = { method: "none" };
    const sink = masakari({ auth, url: "http://m/v1", filter: { vms: ["web*"] }, events: { "VM.HUNG": "LIFECYCLE" } });
    const wants = matcherOf(configuredFilter(sink));
    expect(wants(nextEvent({ type: "VM.HUNG" }))).toBe(true);
    expect(wants(nextEvent({ type: "VM.CRASHED" }))).toBe(false);
    expect(wants(nextEvent({ type: "VM.HUNG", resourceName: "db1" }))).toBe(false);
  });
});
