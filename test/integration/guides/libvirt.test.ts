/** The guide to libvirt, as it is written, with a real one. */
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { LibvirtHost } from "./first-hosts.ts";
import { FirstStepsLab } from "./first-steps-lab.ts";
import { linksOf, play } from "./guide.ts";

test("a newcomer with libvirt sees what the guide shows", { timeout: 240_000 }, async () => {
  await using lab = await FirstStepsLab.open({ host: (surroundings) => LibvirtHost.open(surroundings) });
  await play("libvirt.md", lab);
});

test("the guide leads to files that are there", () => {
  expect(linksOf("libvirt.md").filter((path) => !existsSync(path))).toEqual([]);
});
