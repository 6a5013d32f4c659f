/** The guide to alerts by mail, as it is written, with a real mail server. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { expect, test, vi } from "vitest";
import { MailServerUnderTest } from "../support/mail.ts";
import { comparable, linksOf, play } from "./guide.ts";
import { GuideLab } from "./lab.ts";

test("what the manager warns of arrives as the guide shows it", { timeout: 180_000 }, async () => {
  await using server = await MailServerUnderTest.start();
  await using lab = await GuideLab.open({ replacements: [['"port": 25', `"port": ${server.port}`]] });

  const newestMail = async (): Promise<string> => {
    const { headers, text } = (await server.messages()).at(-1) ?? { headers: new Map<string, string>(), text: "" };
    const shown = ["From", "To", "Subject"].map((name) => `${name}: ${headers.get(name.toLowerCase()) ?? ""}\n`);
    return lab.toDocumented(`${shown.join("")}\n${text}`).replaceAll(ofThisHost, "hv1");
  };
  const mail = async (shown: string): Promise<void> => {
    await vi.waitFor(async () => {
      expect(comparable(await newestMail())).toBe(comparable(shown));
    }, SOON);
  };
  await play("alerts-by-mail.md", lab, { mail });
});

test("the guide leads to files that are there", () => {
  expect(linksOf("alerts-by-mail.md").filter((path) => !existsSync(path))).toEqual([]);
});

const SOON = { timeout: 60_000, interval: 500 };

/** Where a mail names the manager's machine. */
const ofThisHost = new RegExp(`(?<=^Host: +|"source": "//)${hostname()}\\b`, "gm");
