/**
 * systemd's units, through systemctl(1). A unit that is ordered after the configuration waits for us while it starts: we must
 * not wait for it.
 */
import { ModuleError } from "./module.ts";
import { exitProblem, type ProgramRun, runProgram } from "./run-program.ts";

/** What is reached when the machine is configured; whatever is ordered after either waits until the modules have run. */
const CONFIGURED_TARGET = "vmmessage-configured.target";
const CONFIGURATION_UNITS = [CONFIGURED_TARGET, "vmmessage-bootstrap.service"];

/** Of `systemctl show`: a unit may be ordered after hundreds of others. Not measured. */
const MAX_PROPERTIES_BYTES = 256 * 1024;

/** `reload`: where the unit can; else it is restarted. Either starts one that does not run. */
export interface UnitAction {
  type: "reload" | "restart";
  /** With its type, as `nginx.service`. */
  unit: string;
}

/** `deferred`: queued; the unit starts when the machine is configured, and then with what it finds. */
export type UnitOutcome = "done" | "deferred";

const verbs = { reload: "reload-or-restart", restart: "restart" } as const;

type Properties = ReadonlyMap<string, string>;

export class Units {
  readonly #systemctl: string;

  /** A path, or a name that is looked for in the usual directories. */
  constructor(systemctl = "systemctl") {
    this.#systemctl = systemctl;
  }

  /** Waits until it is done, unless the unit waits for the configuration. Throws ModuleError, with what systemctl printed. */
  async act(action: UnitAction, signal: AbortSignal): Promise<UnitOutcome> {
    const isDeferred = await this.#waitsForConfiguration(await this.#loaded(action.unit, signal), signal);
    await this.#command([...(isDeferred ? ["--no-block"] : []), verbs[action.type]], action.unit, signal);
    return isDeferred ? "deferred" : "done";
  }

  /** Queues it and does not wait: for who has no time left. Throws ModuleError where it cannot be queued. */
  async queue({ type, unit }: UnitAction, signal: AbortSignal): Promise<void> {
    await this.#loaded(unit, signal);
    await this.#command(["--no-block", verbs[type]], unit, signal);
  }

  /** A unit's properties, as its file says now: the file may be one of those that were just rendered. */
  async #loaded(unit: string, signal: AbortSignal): Promise<Properties> {
    const properties = await this.#properties(unit, signal);
    const isOutdated = properties.get("NeedDaemonReload") === "yes" || properties.get("LoadState") === "not-found";
    if (!isOutdated) return usable(unit, properties);
    await this.#run(["daemon-reload"], signal);
    return usable(unit, await this.#properties(unit, signal));
  }

  async #waitsForConfiguration(unit: Properties, signal: AbortSignal): Promise<boolean> {
    // Without a job systemctl shows nothing, or none's number.
    const hasJob = !["", "0", undefined].includes(unit.get("Job"));
    if (unit.get("ActiveState") === "inactive" && hasJob) return true;
    const predecessors = unit.get("After")?.split(" ") ?? [];
    if (!CONFIGURATION_UNITS.some((name) => predecessors.includes(name))) return false;
    return (await this.#properties(CONFIGURED_TARGET, signal)).get("ActiveState") !== "active";
  }

  async #properties(unit: string, signal: AbortSignal): Promise<Properties> {
    const names = "LoadState,ActiveState,Job,After,NeedDaemonReload,Result";
    const { stdout } = await this.#run(["show", `--property=${names}`, unit], signal);
    const lines = stdout.toString().split("\n");
    return new Map(
      lines.map((line): [string, string] => {
        const [name = "", ...value] = line.split("=");
        return [name, value.join("=")];
      }),
    );
  }

  async #command(words: readonly string[], unit: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#run([...words, unit], signal);
    } catch (error) {
      if (!(error instanceof ModuleError) || signal.aborted) throw error;
      const result = (await this.#properties(unit, signal)).get("Result");
      throw new ModuleError(`${error.message} (the unit's result: ${result ?? "unknown"})`, error.lines, {
        cause: error,
      });
    }
  }

  async #run(args: readonly string[], signal: AbortSignal): Promise<ProgramRun> {
    const run = await runProgram({
      file: this.#systemctl,
      args: ["--no-ask-password", "--no-pager", ...args],
      signal,
      maxStdoutBytes: MAX_PROPERTIES_BYTES,
    });
    if (run.exit.type === "not-started") {
      throw new ModuleError(`units need systemd, which this machine does not seem to have: ${run.exit.problem}`);
    }
    const problem = exitProblem(run.exit, signal);
    if (problem === undefined) return run;
    throw new ModuleError(`'systemctl ${args.join(" ")}' failed: ${problem}`, run.lines);
  }
}

function usable(unit: string, properties: Properties): Properties {
  const state = properties.get("LoadState");
  if (state === "loaded") return properties;
  if (state === "not-found") throw new ModuleError(`there is no unit ${unit}; is its package installed?`);
  throw new ModuleError(`${unit} cannot be used: systemd says that it is ${state ?? "unknown"}`);
}
