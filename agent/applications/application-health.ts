/** The health of applications, put together: who beats, which checks run, what of that survives, and how all of them are. */
import { isDeepStrictEqual } from "node:util";
import { join } from "node:path";
import type { Log } from "../../shared/log.ts";
import { RequestError, unreachable } from "../../shared/protocol/errors.ts";
import type { ApplicationState, Params } from "../../shared/protocol/message.ts";
import { DurableFile } from "../daemon/durable-file.ts";
import { DurableState } from "../daemon/durable-state.ts";
import {
  Applications,
  type CheckOutcome,
  type Checks,
  type Heartbeats,
  type ListedApplication,
  type Owner,
} from "./applications.ts";
import { formatCheckFile, parseCheckFile } from "./check-file.ts";
import { CheckRunner } from "./check-runner.ts";
import { formatHeartbeatFile, parseHeartbeatFile } from "./heartbeat-file.ts";

interface Loaded<T> {
  state: DurableState<ReadonlyMap<string, T>>;
  setAside: string | undefined;
}

export class ApplicationHealth {
  /** Where checks and heartbeats lie that could not be read. */
  readonly checksSetAside: string | undefined;
  readonly heartbeatsSetAside: string | undefined;
  readonly #applications = new Applications();
  readonly #checks: DurableState<Checks>;
  /** Who is expected to beat after a restart of the agent, or a boot. */
  readonly #heartbeats: DurableState<Heartbeats>;
  readonly #runner: CheckRunner;
  readonly #log: Log;
  /** The last beat that had to be written was. */
  #areBeatsKept = true;

  private constructor(checks: Loaded<MapValue<Checks>>, heartbeats: Loaded<MapValue<Heartbeats>>, log: Log) {
    this.checksSetAside = checks.setAside;
    this.heartbeatsSetAside = heartbeats.setAside;
    this.#checks = checks.state;
    this.#heartbeats = heartbeats.state;
    this.#log = log;
    this.#runner = new CheckRunner({
      onOutcome: (name, outcome) => {
        this.#checked(name, outcome);
      },
    });
  }

  static async open(stateDirectory: string, log: Log): Promise<ApplicationHealth> {
    const checks = await load(join(stateDirectory, "checks.json"), parseCheckFile, formatCheckFile);
    const heartbeats = await load(join(stateDirectory, "heartbeats.json"), parseHeartbeatFile, formatHeartbeatFile);
    const health = new ApplicationHealth(checks, heartbeats, log);
    health.#applications.keepChecks(checks.state.current, nowMs());
    health.#restoreHeartbeats();
    return health;
  }

  /** Begins to run the checks. */
  start(): void {
    this.#runner.keep(this.#checks.current);
  }

  /** Ends what the checks run. */
  close(): Promise<void> {
    return this.#runner.close();
  }

  states(): ApplicationState[] {
    return this.#applications.states(nowMs());
  }

  list(): ListedApplication[] {
    return this.#applications.list(nowMs());
  }

  /** One whose removal is on its way to the disk is still there: it may be asked for twice. */
  kindOf(name: string): ApplicationState["kind"] | undefined {
    if (this.#checks.current.has(name)) return "check";
    return this.#applications.kindOf(name) ?? (this.#heartbeats.current.has(name) ? "heartbeat" : undefined);
  }

  /** Settles when it will be expected after a boot too. Throws RequestError as {@link Applications.assertMayBeat}. */
  async beat({ application, everyMs }: Params<"beat">, owner: Owner): Promise<void> {
    const terms = this.#applications.beat(application, { everyMs, owner }, nowMs());
    if (isDeepStrictEqual(this.#heartbeats.latest.get(application), terms)) return;
    await this.#keepHeartbeats((heartbeats) => new Map(heartbeats).set(application, terms));
  }

  /** Settles when it will survive; the same check once more changes nothing. Throws RequestError. */
  async addCheck({ application, ...check }: Params<"addCheck">): Promise<void> {
    if (check.timeoutMs > check.everyMs) {
      throw new RequestError("invalid-params", "timeoutMs may not be longer than everyMs");
    }
    this.#applications.assertMayCheck(application);
    await this.#changeChecks((checks) => new Map(checks).set(application, check));
    if (this.#heartbeats.latest.has(application)) await this.#keepHeartbeats((all) => without(all, application));
  }

  /** Settles when it will not come back. Throws RequestError. */
  async dismiss(name: string): Promise<void> {
    const kind = this.kindOf(name);
    switch (kind) {
      case "heartbeat":
        return this.#removeHeartbeat(name);
      case "check":
        return this.#changeChecks((checks) => without(checks, name));
      case undefined:
        throw new RequestError("failed", `no application '${name}' is watched; see agent check list`);
      default:
        unreachable(kind);
    }
  }

  async #changeChecks(work: (checks: Checks) => Checks): Promise<void> {
    try {
      const written = this.#checks.change((latest) => {
        const state = work(latest);
        formatCheckFile(state);
        return { state, result: undefined };
      });
      // Its place is taken at once: somebody may begin to beat while the disk is waited for.
      this.#applications.keepChecks(this.#checks.latest, nowMs());
      await written;
    } catch (error) {
      this.#applications.keepChecks(this.#checks.latest, nowMs());
      // What a check was to take the place of, and did not.
      this.#restoreHeartbeats();
      throw notWritten(error);
    } finally {
      this.#runner.keep(this.#checks.current);
    }
  }

  async #removeHeartbeat(name: string): Promise<void> {
    this.#applications.remove(name);
    try {
      await this.#heartbeats.change((latest) => ({ state: without(latest, name), result: undefined }));
    } catch (error) {
      this.#restoreHeartbeats();
      throw notWritten(error);
    }
  }

  #checked(name: string, outcome: CheckOutcome): void {
    if (!this.#applications.checked(name, outcome, nowMs())) return;
    if (outcome.isOk) this.#log.info("check-passed", { application: name });
    else this.#log.warn("check-failed", { application: name, reason: outcome.reason });
  }

  /** Those that are on disk and not known of; the name of a check is the check's. */
  #restoreHeartbeats(): void {
    for (const [name, terms] of this.#heartbeats.latest) {
      if (this.#applications.kindOf(name) !== undefined) continue;
      try {
        this.#applications.restoreHeartbeat(name, terms, nowMs());
      } catch (error) {
        this.#log.warn("heartbeat-dropped", { application: name, reason: (error as Error).message });
      }
    }
  }

  /** An application lives, whether or not that can be written; its next beat tries again. */
  async #keepHeartbeats(work: (heartbeats: Heartbeats) => Heartbeats): Promise<void> {
    try {
      await this.#heartbeats.change((latest) => ({ state: work(latest), result: undefined }));
      if (!this.#areBeatsKept) this.#log.info("heartbeats-kept");
      this.#areBeatsKept = true;
    } catch (error) {
      if (this.#areBeatsKept) this.#log.warn("heartbeats-not-kept", { reason: (error as Error).message });
      this.#areBeatsKept = false;
    }
  }
}

type MapValue<M> = M extends ReadonlyMap<string, infer T> ? T : never;

/** CLOCK_MONOTONIC: neither a set clock nor the machine's sleep makes anything overdue. */
function nowMs(): number {
  return performance.now();
}

function without<T>(all: ReadonlyMap<string, T>, name: string): ReadonlyMap<string, T> {
  return new Map([...all].filter(([other]) => other !== name));
}

function notWritten(error: unknown): RequestError {
  if (error instanceof RequestError) return error;
  return new RequestError("failed", `${(error as Error).message}; nothing was changed`, {}, { cause: error });
}

/** What is on disk, with a way to change it; a file that cannot be read is set aside. */
async function load<T>(
  path: string,
  parse: (text: string) => ReadonlyMap<string, T>,
  format: (all: ReadonlyMap<string, T>) => string,
): Promise<Loaded<T>> {
  const file = new DurableFile(path);
  const { all, setAside } = await read(file, parse);
  return { state: new DurableState(all, (next) => file.replace(format(next))), setAside };
}

async function read<T>(
  file: DurableFile,
  parse: (text: string) => ReadonlyMap<string, T>,
): Promise<{ all: ReadonlyMap<string, T>; setAside?: string }> {
  const text = await file.read();
  if (text === undefined) return { all: new Map() };
  try {
    return { all: parse(text) };
  } catch {
    return { all: new Map(), setAside: await file.setAside("unreadable") };
  }
}
