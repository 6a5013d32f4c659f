/**
 * The applications in this machine whose health the agent tells its host: which they are, and how each is. Sans-IO: whoever
 * calls says what time it is, in milliseconds of CLOCK_MONOTONIC, which stands still while the machine sleeps or is stopped,
 * so that nothing is missed in that time.
 */
import { isDeepStrictEqual } from "node:util";
import { durationInWords } from "../../shared/cli/duration.ts";
import { RequestError, unreachable } from "../../shared/protocol/errors.ts";
import { MAX_APPLICATIONS } from "../../shared/protocol/limits.ts";
import type { ApplicationState, Params, Result } from "../../shared/protocol/message.ts";

/** A command that is run again and again. */
export type Check = Omit<Params<"addCheck">, "application">;
export type Checks = ReadonlyMap<string, Check>;

/** `reason`: in words, made harmless, of at most MAX_APPLICATION_REASON. */
export type CheckOutcome = { isOk: true } | { isOk: false; reason: string };

/** An application as it is listed for people in the guest. */
export type ListedApplication = Result<"applications">["applications"][number];

interface Heartbeat {
  kind: "heartbeat";
  everyMs: number;
  /** None since the agent started: it has a whole period for the first. */
  lastBeatMs: number | undefined;
  /** Since when it beats in time, or is known. */
  sinceMs: number;
}

interface CheckedApplication {
  kind: "check";
  check: Check;
  /** Of the last run. */
  outcome: CheckOutcome | undefined;
  sinceMs: number;
}

type Application = Heartbeat | CheckedApplication;
type Kind = Application["kind"];
type Standing = Omit<ApplicationState, "name" | "kind">;

export class Applications {
  readonly #applications = new Map<string, Application>();

  kindOf(name: string): Kind | undefined {
    return this.#applications.get(name)?.kind;
  }

  /** Throws RequestError: conflict when the name is one of the other kind, over-limit when there is no room for a new one. */
  assertMayWatch(name: string, kind: Kind): void {
    const known = this.kindOf(name);
    if (known === undefined && this.#applications.size >= MAX_APPLICATIONS) {
      const message = `${MAX_APPLICATIONS} applications are watched already; remove one first, see agent check list`;
      throw new RequestError("over-limit", message, { limit: MAX_APPLICATIONS });
    }
    if (known === undefined || known === kind) return;
    throw new RequestError("conflict", `'${name}' is a ${known} already; 'agent check remove ${name}' ends that`);
  }

  /** It lives. True when it is new or has another period. Throws as {@link assertMayWatch}. */
  beat(name: string, everyMs: number, nowMs: number): boolean {
    this.assertMayWatch(name, "heartbeat");
    const known = this.#heartbeat(name);
    const wasWell = known !== undefined && standingOf(known, nowMs).state === "ok";
    const sinceMs = wasWell ? known.sinceMs : nowMs;
    this.#applications.set(name, { kind: "heartbeat", everyMs, lastBeatMs: nowMs, sinceMs });
    return known?.everyMs !== everyMs;
  }

  /** One that beat before the agent was restarted. Throws as {@link assertMayWatch}. */
  restoreHeartbeat(name: string, everyMs: number, nowMs: number): void {
    this.assertMayWatch(name, "heartbeat");
    this.#applications.set(name, { kind: "heartbeat", everyMs, lastBeatMs: undefined, sinceMs: nowMs });
  }

  /** These checks and no others; one that is as it was keeps its state. Heartbeats stay. */
  keepChecks(checks: Checks, nowMs: number): void {
    for (const [name, { kind }] of this.#applications) {
      if (kind === "check" && !checks.has(name)) this.#applications.delete(name);
    }
    for (const [name, check] of checks) {
      if (isDeepStrictEqual(this.#checked(name)?.check, check)) continue;
      this.#applications.set(name, { kind: "check", check, outcome: undefined, sinceMs: nowMs });
    }
  }

  /** A check has run. True when it is well now and was not, or the other way round. */
  checked(name: string, outcome: CheckOutcome, nowMs: number): boolean {
    const known = this.#checked(name);
    if (known === undefined) return false;
    const isNews = known.outcome?.isOk !== outcome.isOk;
    this.#applications.set(name, { ...known, outcome, sinceMs: isNews ? nowMs : known.sinceMs });
    return isNews;
  }

  remove(name: string): void {
    this.#applications.delete(name);
  }

  /** The periods of all that beat. */
  heartbeats(): Map<string, number> {
    const all = [...this.#applications].flatMap(([name, application]): [string, number][] => {
      return application.kind === "heartbeat" ? [[name, application.everyMs]] : [];
    });
    return new Map(all);
  }

  states(nowMs: number): ApplicationState[] {
    return [...this.#applications].map(([name, application]) => {
      return { name, kind: application.kind, ...standingOf(application, nowMs) };
    });
  }

  list(nowMs: number): ListedApplication[] {
    return this.states(nowMs).map((state) => ({ ...state, ...this.#termsOf(state.name) }));
  }

  #termsOf(name: string): Pick<ListedApplication, "everyMs" | "timeoutMs" | "command"> {
    return this.#checked(name)?.check ?? { everyMs: this.#heartbeat(name)?.everyMs ?? 0 };
  }

  #heartbeat(name: string): Heartbeat | undefined {
    const application = this.#applications.get(name);
    return application?.kind === "heartbeat" ? application : undefined;
  }

  #checked(name: string): CheckedApplication | undefined {
    const application = this.#applications.get(name);
    return application?.kind === "check" ? application : undefined;
  }
}

function standingOf(application: Application, nowMs: number): Standing {
  switch (application.kind) {
    case "heartbeat":
      return heartbeatStanding(application, nowMs);
    case "check":
      return checkStanding(application, nowMs);
    default:
      return unreachable(application);
  }
}

function heartbeatStanding({ everyMs, lastBeatMs, sinceMs }: Heartbeat, nowMs: number): Standing {
  const silentMs = nowMs - (lastBeatMs ?? sinceMs);
  if (silentMs <= everyMs) {
    return { state: lastBeatMs === undefined ? "pending" : "ok", forMs: Math.floor(nowMs - sinceMs) };
  }
  const silence = lastBeatMs === undefined ? "since the agent started" : `for ${inWholeSeconds(silentMs)}`;
  const reason = `no beat ${silence}, expected every ${durationInWords(everyMs)}`;
  return { state: "failing", forMs: Math.floor(silentMs - everyMs), reason };
}

function checkStanding({ outcome, sinceMs }: CheckedApplication, nowMs: number): Standing {
  const forMs = Math.floor(nowMs - sinceMs);
  if (outcome === undefined) return { state: "pending", forMs };
  return outcome.isOk ? { state: "ok", forMs } : { state: "failing", forMs, reason: outcome.reason };
}

function inWholeSeconds(ms: number): string {
  return durationInWords(Math.floor(ms / 1_000) * 1_000);
}
