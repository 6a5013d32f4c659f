/** `vmmessaged`: the host's daemon. The only file here that touches arguments, environment, signals and exit codes. */
import { homedir, hostname } from "node:os";
import { assertUtf8Arguments } from "../shared/cli/arguments.ts";
import { asFailure, CommandError } from "../shared/cli/failure.ts";
import { Output } from "../shared/cli/output.ts";
import { ConfigError } from "../shared/config-file.ts";
import { jsonLog, type Log, toStderr } from "../shared/log.ts";
import { exitCodes } from "../shared/protocol/errors.ts";
import { SystemdService, takeNotifySettings } from "../shared/systemd-service.ts";
import { check } from "./check.ts";
import type { Command, NamedPlaces } from "./command.ts";
import { type Config, readConfig } from "./config.ts";
import { Manager } from "./manager.ts";
import { parseArguments } from "./parse-arguments.ts";
import { defaultPlaces, type Places } from "./paths.ts";
import { trustSystemAuthorities } from "./system-authorities.ts";

const output = new Output("vmmessaged", process);

// By this name it is found (pgrep, ss), instead of as one more node.
process.title = "vmmessaged";

// What virsh prints is read in its own English.
process.env["LC_ALL"] = "C";

/** To write out what was printed. */
const END_GRACE_MS = 2_000;

void main();

async function main(): Promise<void> {
  try {
    const args = process.argv.slice(2);
    assertUtf8Arguments(args);
    const parsed = parseArguments(args);
    if (parsed.type === "text") process.stdout.write(parsed.text);
    else await runCommand(parsed.command);
  } catch (error) {
    process.exitCode = reportFailure(error);
  }
  endSoon();
}

/** The program ends when nothing is left to do. Whatever could not be closed shall not keep it: its supervisor waits. */
function endSoon(): void {
  setTimeout(() => process.exit(), END_GRACE_MS).unref();
}

async function runCommand({ name, json, places: named }: Command): Promise<void> {
  trustSystemAuthorities();
  const places = placesOf(named);
  const readAgain = (): Config => readConfig(places.configFile, named.configFile === undefined);
  const surroundings = { places, host: hostname(), uid: process.getuid?.() ?? 0 };
  switch (name) {
    case "run":
      return runUntilSignal({ ...surroundings, config: readAgain(), log: jsonLog(toStderr()) }, readAgain);
    case "check":
      return check({ ...surroundings, config: readAgain(), output, json });
  }
}

function placesOf(named: NamedPlaces): Places {
  const { XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR } = process.env;
  const uid = process.getuid?.() ?? 0;
  const defaults = defaultPlaces({ uid, home: homedir(), XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR });
  return {
    configFile: named.configFile ?? defaults.configFile,
    stateDirectory: named.stateDirectory ?? defaults.stateDirectory,
    runDirectory: named.runDirectory ?? defaults.runDirectory,
  };
}

async function runUntilSignal(options: Parameters<typeof Manager.start>[0], readAgain: () => Config): Promise<void> {
  const settings = takeNotifySettings(process.env, process.pid);
  const manager = await Manager.start(options);
  const service = new SystemdService({
    settings,
    status: () => manager.status,
    proveWork: () => manager.proveWork(),
    log: options.log,
  });
  void service.ready();
  const stop = Promise.withResolvers<undefined>();
  process.on("SIGHUP", () => void reload({ manager, service, readAgain, log: options.log }));
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.on(signal, () => {
      stop.resolve(undefined);
    });
  }
  try {
    await Promise.race([stop.promise, manager.failed]);
  } catch (error) {
    void service.stopping();
    // This is the cause, and is told; what then fails because of it is in the log.
    await manager.stop().catch(() => undefined);
    throw error;
  }
  void service.stopping();
  await manager.stop();
}

interface Reloading {
  manager: Manager;
  service: SystemdService;
  readAgain: () => Config;
  log: Log;
}

/** A configuration that cannot be meant changes nothing. */
async function reload({ manager, service, readAgain, log }: Reloading): Promise<void> {
  const told = service.reloading();
  try {
    await manager.reload(readAgain());
  } catch (error) {
    if (error instanceof ConfigError || error instanceof CommandError)
      log.error("reload-failed", { reason: error.message });
    else log.error("reload-failed", { error });
  }
  await told;
  await service.ready();
}

function reportFailure(error: unknown): number {
  const failure = error instanceof ConfigError ? new CommandError("usage", error.message) : asFailure(error);
  if (failure instanceof CommandError) {
    output.note(failure.message);
    return exitCodes[failure.code];
  }
  output.note(
    `this is a bug of vmmessaged: ${failure instanceof Error ? (failure.stack ?? failure.message) : String(failure)}`,
  );
  return exitCodes.failed;
}
