/** The guide to plain QEMU, as it is written, with the QEMU that it starts. */
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { QemuHost } from "./first-hosts.ts";
import { FirstStepsLab } from "./first-steps-lab.ts";
import { linksOf, play } from "./guide.ts";

test("a newcomer with plain QEMU sees what the guide shows", { timeout: 240_000 }, async () => {
  await using lab = await FirstStepsLab.open({ host: (surroundings) => QemuHost.open(surroundings) });
  await play("plain-qemu.md", lab);
});

test("the guide leads to files that are there", () => {
  expect(linksOf("plain-qemu.md").filter((path) => !existsSync(path))).toEqual([]);
});
