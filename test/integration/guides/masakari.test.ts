/** The guide to Masakari, as it is written, with the peer that answers as Masakari and Keystone do, over TLS. */
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseConfig } from "../../../manager/config.ts";
import { type Certificate, selfSigned } from "../manager/cli/certificates.ts";
import { HOSTNAME, MasakariUnderTest, USER } from "../support/masakari.ts";
import { blocksOf, comparable, linksOf, play } from "./guide.ts";
import { GuideLab } from "./lab.ts";

const AUTHORITY = "/etc/vmmessage/cloud-ca.pem";

test("Masakari is told what the guide shows", { timeout: 240_000 }, async () => {
  await using certificate = await Authority.make();
  await using masakari = await MasakariUnderTest.listen(certificate.ofServer);
  await using lab = await GuideLab.open({
    replacements: [
      ["https://masakari.example.com:15868/v1", masakari.url],
      ["https://keystone.example.com:5000/v3", masakari.keystoneUrl],
    ],
    wrappers: { pass: `echo '${USER.password}'` },
  });
  await copyFile(certificate.ofServer.certPath, lab.path(AUTHORITY));
  const request = (shown: string): Promise<void> => {
    const sent = JSON.stringify(masakari.posts.at(-1)?.body);
    expect(JSON.parse(comparable(sent))).toEqual(JSON.parse(comparable(shown)));
    return Promise.resolve();
  };
  await play("masakari.md", lab, { request });
  // What is held for its time is not sent, and what is tried is no notification.
  expect(masakari.posts.map(({ status }) => status)).toEqual([202, 202]);
  const told = masakari.stored.map(({ hostname, payload }) => [hostname, payload.event]);
  expect(told).toEqual([
    [HOSTNAME, "QEMU_GUEST_AGENT_ERROR"],
    [HOSTNAME, "LIFECYCLE"],
  ]);
});

test("the guide's configurations are ones", () => {
  const sinks = blocksOf("masakari.md").filter(({ title }) => title === "sink");
  expect(sinks.length).toBeGreaterThan(1);
  for (const { text } of sinks) {
    const config = { events: { sinks: [JSON.parse(text) as object] } };
    expect(() => parseConfig(config, "the guide")).not.toThrow();
  }
});

test("the guide leads to files that are there", () => {
  expect(linksOf("masakari.md").filter((path) => !existsSync(path))).toEqual([]);
});

/** Whose certificate the peer has. */
class Authority implements AsyncDisposable {
  readonly ofServer: Certificate;
  readonly #directory: string;

  private constructor(directory: string, ofServer: Certificate) {
    this.#directory = directory;
    this.ofServer = ofServer;
  }

  static async make(): Promise<Authority> {
    const directory = await mkdtemp(join(tmpdir(), "guide-ca-"));
    return new Authority(directory, await selfSigned(directory, "cloud", "IP:127.0.0.1"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true });
  }
}
