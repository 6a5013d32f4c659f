/** `agent doctor`: goes the way from the machine to the host step by step and names the first piece that is missing. */
import { readdirSync, readlinkSync, readFileSync } from "node:fs";
import { CommandError } from "../../shared/cli/failure.ts";
import { ConfigError } from "../../shared/config-file.ts";
import type { Output } from "../../shared/cli/output.ts";
import type { Result } from "../../shared/protocol/message.ts";
import { findPort, listPorts } from "../channel/find-port.ts";
import { type ChannelSpec, DEFAULT_PORT_NAME, parseChannelSpec } from "../channel/channel-spec.ts";
import type { DoctorCommand } from "../command.ts";
import { readConfig } from "../config.ts";
import { withAgent } from "../local-client.ts";

/** An agent in the same machine answers at once or not at all. */
const DAEMON_TIMEOUT_MS = 3_000;

type ListedApplication = Result<"applications">["applications"][number];

interface Finding {
  check: string;
  ok: boolean;
  says: string;
}

/** Prints every finding; throws CommandError (failed) when one of them is bad. */
export async function examine(command: DoctorCommand, output: Output): Promise<void> {
  const findings: Finding[] = [];
  for await (const finding of examination(command)) {
    findings.push(finding);
    if (!command.isJson) output.line(`${finding.ok ? "ok     " : "PROBLEM"}  ${finding.check}: ${finding.says}`);
  }
  const problem = findings.find(({ ok }) => !ok);
  if (command.isJson) output.json({ ok: problem === undefined, findings });
  if (problem) throw new CommandError("failed", `${problem.check}: ${problem.says}`, { findings: undefined });
}

async function* examination(command: DoctorCommand): AsyncGenerator<Finding> {
  const daemon = await askDaemon(command);
  const config = configFinding(command);
  yield config.finding;
  // The daemon knows best which channel it serves; without one, the configuration says which it would.
  const isAsked = command.channel !== undefined;
  const channel = "info" in daemon && !isAsked ? parseChannelSpec(daemon.info.channel) : config.channel;
  if (channel?.kind === "virtio") yield* portFindings(channel.name);
  if ("info" in daemon) yield* daemonFindings(daemon.info, daemon.applications);
  else yield { check: "daemon", ok: false, says: daemon.problem };
}

type DaemonAnswer = { info: Result<"info">; applications: ListedApplication[] } | { problem: string };

async function askDaemon(command: DoctorCommand): Promise<DaemonAnswer> {
  try {
    return await withAgent({ ...command, timeoutMs: DAEMON_TIMEOUT_MS }, async (client) => {
      return { info: await client.read("info", {}), ...(await client.read("applications", {})) };
    });
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

function configFinding({ configFile, channel: asked }: DoctorCommand): { finding: Finding; channel?: ChannelSpec } {
  try {
    const { channel } = readConfig(configFile, asked === undefined ? {} : { channel: asked });
    return { finding: { check: "configuration", ok: true, says: "can be read" }, channel };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { finding: { check: "configuration", ok: false, says: error.message } };
  }
}

async function* portFindings(name: string): AsyncGenerator<Finding> {
  const location = await findPort(name);
  if (location === undefined) {
    yield { check: "port", ok: false, says: await missingPort(name) };
    return;
  }
  yield { check: "port", ok: true, says: `${location.path} is ${name}` };
  const says = location.hasUdevLink ? "there" : "none in /dev/virtio-ports; the agent does without";
  yield { check: "udev link", ok: true, says };
  const holder = holderOf(location.path);
  if (holder === undefined) yield { check: "port opened", ok: false, says: "by no program; is 'agent run' running?" };
  else yield { check: "port opened", ok: holder.isAgent, says: `by pid ${holder.pid} (${holder.command})` };
}

async function missingPort(name: string): Promise<string> {
  const names = (await listPorts()).map((port) => port.name).filter((other) => other !== "");
  const seen =
    names.length === 0 ? "this machine has no named virtio port" : `the machine's ports are ${names.join(", ")}`;
  const hint = name === DEFAULT_PORT_NAME ? "is the channel in the VM's definition?" : "is the name right?";
  return `there is no virtio port ${name}; ${seen}; ${hint}`;
}

/** The process that has a device open, as far as we may look. */
function holderOf(device: string): { pid: number; command: string; isAgent: boolean } | undefined {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (!hasOpen(pid, device)) continue;
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
    return { pid: Number(pid), command, isAgent: /\bagent\b/.test(command) };
  }
  return undefined;
}

function hasOpen(pid: string, device: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => linkTarget(`/proc/${pid}/fd/${fd}`) === device);
  } catch {
    return false;
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function* daemonFindings(info: Result<"info">, applications: ListedApplication[]): Generator<Finding> {
  yield { check: "daemon", ok: true, says: `${info.software}, on ${info.channel}` };
  const attached = info.isHostAttached ? "attached" : "no host has the channel open at the moment";
  yield { check: "host", ok: info.isHostAttached, says: attached };
  yield {
    check: "keys",
    ok: true,
    says: `${info.keys}, ${info.usedBytes} of ${info.limitBytes} bytes, revision ${info.revision}`,
  };
  const unprojected = info.unprojectedKeys;
  const files = unprojected.length === 0 ? "every key has one" : `none for ${unprojected.join(", ")}`;
  yield { check: "key files", ok: unprojected.length === 0, says: files };
  if (info.clonedFrom !== undefined) {
    yield {
      check: "clone",
      ok: true,
      says: `this machine was cloned from ${info.clonedFrom} and started with no keys`,
    };
  }
  if (applications.length > 0) yield { check: "applications", ok: true, says: inWords(applications) };
  for (const note of info.notes) yield { check: "note", ok: true, says: note };
}

/** One that is failing is the application's problem, not one of the way to the host. */
function inWords(applications: ListedApplication[]): string {
  const failing = applications.filter(({ state }) => state === "failing");
  const watched = `${applications.length} watched`;
  if (failing.length === 0) return `${watched}, none failing`;
  return `${watched}, failing: ${failing.map(({ name, reason = "" }) => `${name} (${reason})`).join(", ")}`;
}
