/** The health of applications, put together: who beats, which checks run and survive, and how all of them are. */
import { join } from "node:path";
import type { Log } from "../../shared/log.ts";
import { RequestError, unreachable } from "../../shared/protocol/errors.ts";
import type { ApplicationState, Params } from "../../shared/protocol/message.ts";
import { DurableFile } from "../daemon/durable-file.ts";
import { DurableState } from "../daemon/durable-state.ts";
import type { Machine } from "../machine.ts";
import { Applications, type CheckOutcome, type Checks, type ListedApplication } from "./applications.ts";
import { formatCheckFile, parseCheckFile } from "./check-file.ts";
import { CheckRunner } from "./check-runner.ts";
import { HeartbeatFile } from "./heartbeat-file.ts";

export interface ApplicationHealthOptions {
  /** Where the checks are kept. */
  stateDirectory: string;
  /** Where it is kept who beats. */
  runDirectory: string;
  machine: Pick<Machine, "bootId">;
  log: Log;
}

export class ApplicationHealth {
  /** Where checks lie that could not be read. */
  readonly setAside: string | undefined;
  readonly #applications = new Applications();
  readonly #checks: DurableState<Checks>;
  readonly #heartbeats: HeartbeatFile;
  readonly #runner: CheckRunner;
  readonly #log: Log;

  private constructor(
    checks: DurableState<Checks>,
    setAside: string | undefined,
    { runDirectory, machine, log }: ApplicationHealthOptions,
  ) {
    this.setAside = setAside;
    this.#log = log;
    this.#checks = checks;
    this.#heartbeats = new HeartbeatFile(join(runDirectory, "heartbeats.json"), machine.bootId);
    this.#runner = new CheckRunner({
      onOutcome: (name, outcome) => {
        this.#checked(name, outcome);
      },
    });
  }

  static async open(options: ApplicationHealthOptions): Promise<ApplicationHealth> {
    const file = new DurableFile(join(options.stateDirectory, "checks.json"));
    const { checks, setAside } = await load(file);
    const state = new DurableState<Checks>(checks, (next) => file.replace(formatCheckFile(next)));
    const health = new ApplicationHealth(state, setAside, options);
    health.#applications.keepChecks(checks, nowMs());
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

  /** Throws RequestError as {@link Applications.assertMayWatch}. */
  beat({ application, everyMs }: Params<"beat">): void {
    if (this.#applications.beat(application, everyMs, nowMs())) this.#keepHeartbeats();
  }

  /** Settles when it will survive; the same check once more changes nothing. Throws RequestError. */
  async addCheck({ application, ...check }: Params<"addCheck">): Promise<void> {
    if (check.timeoutMs > check.everyMs) {
      throw new RequestError("invalid-params", "timeoutMs may not be longer than everyMs");
    }
    this.#applications.assertMayWatch(application, "check");
    await this.#changeChecks((checks) => new Map(checks).set(application, check));
  }

  /** Settles when it will not come back. Throws RequestError. */
  async dismiss(name: string): Promise<void> {
    // One whose removal is on its way to the disk is still there: it may be asked for twice.
    const kind = this.#checks.current.has(name) ? "check" : this.#applications.kindOf(name);
    switch (kind) {
      case "heartbeat":
        this.#applications.remove(name);
        this.#keepHeartbeats();
        return;
      case "check":
        await this.#changeChecks((checks) => new Map([...checks].filter(([other]) => other !== name)));
        return;
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
      if (error instanceof RequestError) throw error;
      throw new RequestError("failed", `${(error as Error).message}; nothing was changed`, {}, { cause: error });
    } finally {
      this.#applications.keepChecks(this.#checks.latest, nowMs());
      this.#runner.keep(this.#checks.current);
    }
  }

  #checked(name: string, outcome: CheckOutcome): void {
    if (!this.#applications.checked(name, outcome, nowMs())) return;
    if (outcome.isOk) this.#log.info("check-passed", { application: name });
    else this.#log.warn("check-failed", { application: name, reason: outcome.reason });
  }

  #restoreHeartbeats(): void {
    for (const [name, everyMs] of this.#heartbeats.read()) {
      try {
        this.#applications.restoreHeartbeat(name, everyMs, nowMs());
      } catch (error) {
        this.#log.warn("heartbeat-dropped", { application: name, reason: (error as Error).message });
      }
    }
  }

  /** An application lives, whether or not this can be written: it is only told again after the agent was restarted. */
  #keepHeartbeats(): void {
    try {
      this.#heartbeats.write(this.#applications.heartbeats());
    } catch (error) {
      this.#log.warn("heartbeats-not-kept", { reason: (error as Error).message });
    }
  }
}

/** CLOCK_MONOTONIC: neither a set clock nor the machine's sleep makes anything overdue. */
function nowMs(): number {
  return performance.now();
}

async function load(file: DurableFile): Promise<{ checks: Checks; setAside?: string }> {
  const text = await file.read();
  if (text === undefined) return { checks: new Map() };
  try {
    return { checks: parseCheckFile(text) };
  } catch {
    return { checks: new Map(), setAside: await file.setAside("unreadable") };
  }
}
