/** The guide for those who come from Oracle VM, as it is written, with a real libvirt and our programs under the old names. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { agentProgram, AgentUnderTest } from "../support/agents.ts";
import { LibvirtHost } from "./first-hosts.ts";
import { FirstStepsLab } from "./first-steps-lab.ts";
import { blocksOf, linksOf, play } from "./guide.ts";

const GUIDE = "moving-from-oracle-vm.md";

test("under their old names the programs do what the guide shows", { timeout: 240_000 }, async () => {
  await using lab = await FirstStepsLab.open({ host: (surroundings) => LibvirtHost.openWithChannel(surroundings) });
  await play(GUIDE, lab);
});

test("ovmd without an operation is the daemon, with ovmd's options", { timeout: 60_000 }, async () => {
  await using agent = await AgentUnderTest.make();
  const pidFile = join(agent.directory, "ovmd.pid");
  const places = [`--channel=unix:${agent.channelPath}`, `--run-dir=${agent.runDirectory}`];
  const words = ["-d", "1", "-t", "5", `--pid-file=${pidFile}`, ...places, `--state-dir=${agent.stateDirectory}`];
  const ovmd = spawn(process.execPath, [agentProgram, ...words], { argv0: "ovmd", stdio: "ignore" });
  onTestFinished(() => void ovmd.kill("SIGKILL"));
  await vi.waitUntil(async () => (await agent.run("-p", "a=1")).exitCode === 0, { timeout: 20_000, interval: 50 });
  expect(await agent.list()).toEqual(['{"a":"1"}']);
  expect(await readFile(pidFile, "utf8")).toBe(`${ovmd.pid}\n`);
});

test("the guide leads to files that are there", () => {
  expect(linksOf(GUIDE).filter((path) => !existsSync(path))).toEqual([]);
  expect(blocksOf(GUIDE).filter(({ isConsole }) => isConsole).length).toBeGreaterThan(1);
});
