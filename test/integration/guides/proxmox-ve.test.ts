/** The guide to Proxmox VE, as it is written, without one: first-hosts.ts has what stands in for it. */
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { ProxmoxHost } from "./first-hosts.ts";
import { FirstStepsLab } from "./first-steps-lab.ts";
import { linksOf, play } from "./guide.ts";

test(
  "a newcomer with Proxmox VE sees what the guide shows, where a stand-in for qm starts a real QEMU with the args",
  { timeout: 240_000 },
  async () => {
    await using lab = await FirstStepsLab.open({ host: (surroundings) => ProxmoxHost.open(surroundings) });
    await play("proxmox-ve.md", lab);
  },
);

test("the guide leads to files that are there", () => {
  expect(linksOf("proxmox-ve.md").filter((path) => !existsSync(path))).toEqual([]);
});
