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

/** Applications that beat through one restricted socket: more is more than one program has parts. Not measured. */
export const MAX_PER_SOCKET = 8;

/** Of all, these are root's alone: whatever restricted sockets there are, root finds room for a check. Not measured. */
const KEPT_FOR_ROOT = 8;

/** The path of the restricted socket through which an application began to beat; null for root's own. */
export type Owner = string | null;

export interface HeartbeatTerms {
  everyMs: number;
  owner: Owner;
}

export type Heartbeats = ReadonlyMap<string, HeartbeatTerms>;

interface Heartbeat extends HeartbeatTerms {
  kind: "heartbeat";
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

  /**
   * A check takes the place of what beats through a restricted socket: nobody there can keep root from a name. Throws
   * RequestError: conflict when root has it beat, over-limit when there is no room for a new one.
   */
  assertMayCheck(name: string): void {
    const known = this.#applications.get(name);
    if (known === undefined) this.#assertRoom();
    if (known?.kind === "heartbeat" && known.owner === null) throw taken(name, known.kind);
  }

  /** Throws RequestError: conflict when the name is a check's, over-limit when there is no room for a new one. */
  assertMayBeat(name: string, owner: Owner): void {
    const kind = this.kindOf(name);
    if (kind === "check") throw taken(name, kind);
    if (kind !== undefined) return;
    this.#assertRoom();
    if (owner !== null) this.#assertShare(owner);
  }

  /** It lives. Throws as {@link assertMayBeat}. */
  beat(name: string, { everyMs, owner }: HeartbeatTerms, nowMs: number): HeartbeatTerms {
    this.assertMayBeat(name, owner);
    const known = this.#heartbeat(name);
    const wasWell = known !== undefined && standingOf(known, nowMs).state === "ok";
    const sinceMs = wasWell ? known.sinceMs : nowMs;
    const terms = { everyMs, owner: ownerAfter(known, owner) };
    this.#applications.set(name, { kind: "heartbeat", ...terms, lastBeatMs: nowMs, sinceMs });
    return terms;
  }

  /** One that beat before the agent was restarted. Throws as {@link assertMayBeat}. */
  restoreHeartbeat(name: string, terms: HeartbeatTerms, nowMs: number): void {
    this.assertMayBeat(name, terms.owner);
    this.#applications.set(name, { kind: "heartbeat", ...terms, lastBeatMs: undefined, sinceMs: nowMs });
  }

  /** These checks and no others; one that is as it was keeps its state. Heartbeats of other names stay. */
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

  #assertRoom(): void {
    if (this.#applications.size < MAX_APPLICATIONS) return;
    const message = `${MAX_APPLICATIONS} applications are watched already; remove one first, see agent check list`;
    throw new RequestError("over-limit", message, { limit: MAX_APPLICATIONS });
  }

  #assertShare(owner: string): void {
    const owners = [...this.#applications.values()].flatMap((one) => (one.kind === "heartbeat" ? [one.owner] : []));
    const ofThisSocket = owners.filter((other) => other === owner).length;
    if (ofThisSocket >= MAX_PER_SOCKET) {
      const message = `${MAX_PER_SOCKET} applications beat through this socket already; remove one first`;
      throw new RequestError("over-limit", message, { limit: MAX_PER_SOCKET });
    }
    const ofRestrictedSockets = owners.filter((other) => other !== null).length;
    const limit = MAX_APPLICATIONS - KEPT_FOR_ROOT;
    if (ofRestrictedSockets < limit) return;
    const message = `${limit} applications beat through restricted sockets already, and no more may; remove one first`;
    throw new RequestError("over-limit", message, { limit });
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

/** What root has beat is root's from then on; among others it stays with who began. */
function ownerAfter(known: Heartbeat | undefined, owner: Owner): Owner {
  return known === undefined || owner === null ? owner : known.owner;
}

function taken(name: string, kind: Kind): RequestError {
  return new RequestError("conflict", `'${name}' is a ${kind} already; 'agent check remove ${name}' ends that`);
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
