/**
 * systemd's units, through systemctl(1). A unit that is ordered after the configuration waits for us while it starts: we must
 * not wait for it.
 */
import { CONFIGURED_TARGET } from "./configured-target.ts";
import { ModuleError } from "./module.ts";
import { exitProblem, type ProgramRun, runProgram } from "./run-program.ts";

/** What is reached when the machine is configured; whatever is ordered after either waits until the modules have run. */
const CONFIGURATION_UNITS = [CONFIGURED_TARGET, "vmmessage-bootstrap.service"];

/** Of `systemctl show`: a unit may be ordered after hundreds of others, and several are asked for at once. Not measured. */
const MAX_PROPERTIES_BYTES = 1024 * 1024;

/** Units that are looked at to find out what one waits for; a service has a dozen. Not measured. */
const MAX_FOLLOWED = 128;

/** `reload`: where the unit can; else it is restarted. Either starts one that does not run. */
export interface UnitAction {
  type: "reload" | "restart";
  /** With its type, as `nginx.service`. */
  unit: string;
}

/** `deferred`: queued; the unit starts when the machine is configured, and then with what it finds. */
export type UnitOutcome = "done" | "deferred";

const verbs = { reload: "reload-or-restart", restart: "restart" } as const;

const SHOWN_PROPERTIES = "LoadState,ActiveState,Job,After,Requires,BindsTo,Wants,NeedDaemonReload,Result";

type Properties = ReadonlyMap<string, string>;

const NO_PROPERTIES: Properties = new Map();

/** What a unit has to do with another one that it names. */
interface Relation {
  name: string;
  /** It starts the other one, and does not only start after it. */
  isStarted: boolean;
}

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
    if (isInactive(unit) && hasJob(unit)) return true;
    const target = await this.#properties(CONFIGURED_TARGET, signal);
    if (target.get("ActiveState") === "active") return false;
    return isAfterConfiguration(unit) || (hasJob(target) && (await this.#startsWhatWaits(unit, signal)));
  }

  /**
   * Whether what a unit starts, or what it starts after, waits for the configuration, which is under way: over any number of
   * units that are yet to be started. True also where they are too many to tell: not to wait is the smaller harm.
   */
  async #startsWhatWaits(unit: Properties, signal: AbortSignal): Promise<boolean> {
    const known = new Map<string, Properties>();
    const followed = new Set<string>();
    let relations = relationsOf(unit);
    while (relations.length > 0) {
      const unknown = [...new Set(relations.map(({ name }) => name))].filter((name) => !known.has(name));
      if (known.size + unknown.length > MAX_FOLLOWED) return true;
      for (const [name, properties] of await this.#propertiesOf(unknown, signal)) known.set(name, properties);
      relations = relations.flatMap(({ name, isStarted }) => {
        const properties = known.get(name) ?? NO_PROPERTIES;
        if (followed.has(name) || !isInactive(properties) || !(isStarted || hasJob(properties))) return [];
        followed.add(name);
        return relationsOf(properties);
      });
      if ([...followed].some((name) => isAfterConfiguration(known.get(name) ?? NO_PROPERTIES))) return true;
    }
    return false;
  }

  async #properties(unit: string, signal: AbortSignal): Promise<Properties> {
    return (await this.#propertiesOf([unit], signal)).get(unit) ?? NO_PROPERTIES;
  }

  async #propertiesOf(units: readonly string[], signal: AbortSignal): Promise<Map<string, Properties>> {
    if (units.length === 0) return new Map();
    // A name may begin with a dash, as `-.mount` does.
    const { stdout } = await this.#run(["show", `--property=${SHOWN_PROPERTIES}`, "--", ...units], signal);
    const blocks = stdout.toString().split(/\n{2,}/);
    return new Map(units.map((unit, index) => [unit, propertiesIn(blocks[index] ?? "")]));
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

function propertiesIn(block: string): Properties {
  return new Map(
    block.split("\n").map((line): [string, string] => {
      const [name = "", ...value] = line.split("=");
      return [name, value.join("=")];
    }),
  );
}

function namesIn(properties: Properties, property: string): string[] {
  return (properties.get(property) ?? "").split(" ").filter((name) => name !== "");
}

function relationsOf(unit: Properties): Relation[] {
  const started = ["Requires", "BindsTo", "Wants"].flatMap((property) => namesIn(unit, property));
  return [
    ...started.map((name) => ({ name, isStarted: true })),
    ...namesIn(unit, "After").map((name) => ({ name, isStarted: false })),
  ];
}

function isAfterConfiguration(unit: Properties): boolean {
  const predecessors = namesIn(unit, "After");
  return CONFIGURATION_UNITS.some((name) => predecessors.includes(name));
}

function isInactive(unit: Properties): boolean {
  const state = unit.get("ActiveState");
  return state === "inactive" || state === "failed";
}

/** systemctl shows nothing without a job, or none's number. */
function hasJob(unit: Properties): boolean {
  return !["", "0", undefined].includes(unit.get("Job"));
}
