/** `vmmessaged check`: what a manager with this configuration would do, step by step, without doing it. */
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { dirname } from "node:path";
import { asFailure, CommandError } from "../shared/cli/failure.ts";
import type { Output } from "../shared/cli/output.ts";
import { readCertificate } from "./api/certificate.ts";
import type { Config } from "./config.ts";
import type { Places } from "./paths.ts";
import { checkProgram, checkSink } from "./sinks/check-sink.ts";
import { openSource, type SourceSpec, sourceSpecs } from "./inventory/sources.ts";
import { checkPeers } from "./peers/check-peers.ts";

/** How long an inventory may take to answer. */
const PROBE_TIMEOUT_MS = 15_000;

export interface CheckOptions {
  config: Config;
  places: Places;
  host: string;
  uid: number;
  output: Output;
  json: boolean;
}

interface Finding {
  check: string;
  ok: boolean;
  found: string;
}

/** Throws CommandError (failed) when something would not work; what was found is printed before. */
export async function check({ config, places, host, uid, output, json }: CheckOptions): Promise<void> {
  const findings: Finding[] = [];
  const step = async (name: string, work: () => Promise<string>): Promise<boolean> => {
    const finding = await find(name, work);
    findings.push(finding);
    if (!json) output.line(`${finding.ok ? "ok  " : "FAIL"}  ${finding.check}: ${finding.found}`);
    return finding.ok;
  };
  await step("configuration", () => Promise.resolve(places.configFile));
  await step("state directory", () => writable(places.stateDirectory));
  await step("run directory", () => writable(places.runDirectory));
  for (const spec of sourceSpecs(config, uid)) await step(nameOf(spec, host), () => probe(spec, host));
  for (const { path } of config.sockets) await step(`socket ${path}`, () => writable(dirname(path)));
  for (const listen of config.listen) {
    await step(`listen ${listen.address}:${listen.port}`, async () => {
      await readCertificate({ certificatePaths: [listen.certificate], keyPath: listen.key });
      return `certificate ${listen.certificate}`;
    });
  }
  if (config.console !== undefined) {
    const { address, port } = config.console;
    await step("console", () => Promise.resolve(`would listen on ${address}:${port}`));
  }
  const { sinks, commands, gateways } = config.events;
  for (const sink of sinks) await step(`sink ${sink.name}`, () => checkSink(sink, config.events));
  for (const [name, program] of Object.entries({ ...commands, ...gateways })) {
    await step(`program ${name}`, () => checkProgram(program));
  }
  for (const directory of config.images.directories) await step("images", () => writable(directory));
  if (config.peers !== undefined) await checkPeers(config.peers, host, step);
  const failed = findings.filter(({ ok }) => !ok);
  if (json) output.json({ ok: failed.length === 0, checks: findings });
  if (failed.length > 0) throw new CommandError("failed", `${failed.length} of ${findings.length} checks failed`);
}

async function find(name: string, work: () => Promise<string>): Promise<Finding> {
  try {
    return { check: name, ok: true, found: await work() };
  } catch (error) {
    const failure = asFailure(error);
    if (!(failure instanceof CommandError)) throw failure;
    return { check: name, ok: false, found: failure.message };
  }
}

function nameOf(spec: SourceSpec, host: string): string {
  return openSource(spec, host).name;
}

async function probe(spec: SourceSpec, host: string): Promise<string> {
  const vms = await openSource(spec, host).probe(AbortSignal.timeout(PROBE_TIMEOUT_MS));
  const lacking = vms.filter(({ problem }) => problem !== undefined).map(({ name }) => name);
  const without = lacking.length === 0 ? "" : `, without our channel: ${lacking.join(", ")}`;
  return `${vms.length} VMs, ${vms.filter(({ channelPath }) => channelPath !== undefined).length} with a channel${without}`;
}

/** The directory, or the nearest one above it that is there, may be written to. */
async function writable(directory: string): Promise<string> {
  try {
    await access(directory, constants.W_OK | constants.X_OK);
    return directory;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" && dirname(directory) !== directory) {
      await writable(dirname(directory));
      return `${directory} would be made`;
    }
    throw new CommandError("not-permitted", `cannot write to ${directory}: ${message}`, {}, { cause: error });
  }
}
