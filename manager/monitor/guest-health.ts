/** What is known of one guest's health, from its pings: without a clock, a channel or a store. */
import type { ChannelEvidence, VmHealth } from "../../shared/api/monitor-schemas.ts";
import type { VmRef } from "../../shared/api/schemas.ts";
import type { EventType } from "../../shared/event-types.ts";
import { monitorEvents, type MonitorNews, type SubjectKind } from "../../shared/monitor-table.ts";
import type { ApplicationState } from "../../shared/protocol/message.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { type Event, type NewEvent, vmEvent } from "../events/event.ts";
import type { Probe } from "./probe.ts";
import { type Evidence, type Patience, Subject, type SubjectState } from "./subject.ts";

/** The probes of one moment. */
export interface Round {
  agent: Probe;
  /** Undefined where QEMU's guest agent was not asked. */
  guestAgent: Probe | undefined;
}

export interface HealthRules extends Patience {
  /** Whether a silent agent is an alarm. */
  expectsAgent: boolean;
}

/** What outlives the manager. Times are milliseconds since 1970. */
export interface StoredHealth {
  guest: SubjectState;
  agent: SubjectState | undefined;
  applications: ({ name: string; kind: ApplicationState["kind"] } & SubjectState)[];
  /** The position of the event with which this life of the machine began, 0 when it was not seen to. */
  begunAt: number;
}

interface Channel {
  last: Probe;
  at: number;
  answeredAt: number | undefined;
}

interface Application {
  said: Pick<ApplicationState, "kind" | "reason">;
  subject: Subject;
}

export class GuestHealth {
  readonly #guest: Subject;
  #agent: Subject | undefined;
  #applications: Map<string, Application>;
  #begunAt: number;
  /** Whether one of the last rounds said anything of the guest. */
  #isHeard = false;
  #roundsUnheard = 0;
  readonly #channels: { agent?: Channel; guestAgent?: Channel } = {};

  constructor(now: number, stored?: StoredHealth) {
    this.#guest = new Subject(stored?.guest ?? undiscovered(now));
    this.#agent = stored?.agent && new Subject(stored.agent);
    this.#begunAt = stored?.begunAt ?? 0;
    this.#applications = new Map(
      stored?.applications.map(({ name, kind, ...state }) => [name, { said: { kind }, subject: new Subject(state) }]),
    );
  }

  get stored(): StoredHealth {
    return {
      guest: this.#guest.stored,
      agent: this.#agent?.stored,
      applications: [...this.#applications].map(([name, { said, subject }]) => {
        return { name, kind: said.kind, ...subject.stored };
      }),
      begunAt: this.#begunAt,
    };
  }

  /** Whether the guest answers; undefined when nobody can tell now. */
  get isUp(): boolean | undefined {
    if (!this.#isHeard) return undefined;
    switch (this.#guest.state) {
      case "healthy":
        return true;
      case "reported":
        return false;
      case "discovery":
      case "error":
        return undefined;
    }
  }

  /** Of those that are judged already. */
  get applicationStandings(): { name: string; isOk: boolean }[] {
    return [...this.#applications].flatMap(([name, { subject }]) => {
      return subject.state === "discovery" ? [] : [{ name, isOk: subject.state === "healthy" }];
    });
  }

  /** One that gave no cause for doubt when it was last asked. */
  get isWell(): boolean {
    return this.#guest.state === "healthy" && this.#channels.agent?.last.type === "answered";
  }

  /** Whether the failure that an event of ours tells is still so. */
  stands(event: Pick<Event, "type" | "time" | "position" | "data">): boolean {
    const { stored } = this.#subjectOf(event) ?? {};
    // One that recovered and failed again is reported too, and told of by a later event.
    return this.isOfThisLife(event) && stored?.state === "reported" && event.time >= stored.since;
  }

  /** What failed in the machine's last life has not failed in this one. */
  isOfThisLife({ position }: Pick<Event, "position">): boolean {
    return position >= this.#begunAt;
  }

  #subjectOf({ type, data }: Pick<Event, "type" | "data">): Subject | undefined {
    switch (type) {
      case "VM.HUNG":
        return this.#guest;
      case "VM.AGENT-MISSING":
        return this.#agent;
      case "VM.APPLICATION-FAILED":
        return this.#applications.get(String(data["application"]))?.subject;
      default:
        return undefined;
    }
  }

  /** The events of a round, in which the machine ran all the time. */
  round(vm: VmRef, round: Round, rules: HealthRules, now: number): NewEvent[] {
    this.#note("agent", round.agent, now);
    if (round.guestAgent !== undefined) this.#note("guestAgent", round.guestAgent, now);
    const guest = guestEvidence(round);
    this.#roundsUnheard = guest === undefined ? this.#roundsUnheard + 1 : 0;
    this.#isHeard = guest !== undefined || (this.#isHeard && this.#roundsUnheard < rules.threshold);
    const tell = (kind: SubjectKind, news: readonly MonitorNews[], data: Record<string, unknown> = {}): NewEvent[] => {
      return eventsOf(kind, news, vm, now, { ...data, channels: inWords(round) });
    };
    const downSince = this.#guest.stored.since;
    const news = guest === undefined ? [] : this.#guest.round(guest, { ...rules, bootRounds: Infinity }, now);
    return [
      ...tell("guest", news, this.#guestData(news, downSince)),
      ...tell("agent", this.#agentRound(round.agent, guest, rules, now)),
      ...this.#applicationRounds(vm, round.agent, rules, now),
    ];
  }

  /** Nobody looked for a while. */
  rest(): void {
    this.#isHeard = false;
    for (const subject of this.#subjects()) subject.rest();
  }

  /** The machine started, was reset or was stopped, as the event at this position says. */
  begin(position: number, now: number): void {
    this.#begunAt = position;
    this.#isHeard = false;
    for (const subject of this.#subjects()) subject.begin(now);
  }

  shown(vm: VmRef): Omit<VmHealth, "isMonitored" | "recovery"> {
    const { agent, guestAgent } = this.#channels;
    return {
      vm,
      ...shownSubject(this.#guest),
      ...(agent !== undefined && { agent: shownChannel(agent) }),
      ...(guestAgent !== undefined && { guestAgent: shownChannel(guestAgent) }),
      ...(this.#agent !== undefined && { expectedAgent: shownState(this.#agent) }),
      applications: [...this.#applications].map(([name, { said, subject }]) => {
        const { kind, reason } = said;
        return { name, kind, ...shownSubject(subject), ...(reason !== undefined && { reason }) };
      }),
    };
  }

  #subjects(): Subject[] {
    const applications = [...this.#applications.values()].map(({ subject }) => subject);
    return [this.#guest, ...(this.#agent === undefined ? [] : [this.#agent]), ...applications];
  }

  #note(name: "agent" | "guestAgent", last: Probe, at: number): void {
    const answeredAt = last.type === "answered" ? at : this.#channels[name]?.answeredAt;
    this.#channels[name] = { last, at, answeredAt };
  }

  #guestData(news: readonly MonitorNews[], downSince: number): Record<string, unknown> {
    if (news.includes("recovery")) return { reportedAt: rfc3339(downSince) };
    const answered = [this.#channels.agent?.answeredAt, this.#channels.guestAgent?.answeredAt];
    const answeredAt = Math.max(...answered.map((time) => time ?? 0));
    return { misses: this.#guest.misses, ...(answeredAt > 0 && { answeredAt: rfc3339(answeredAt) }) };
  }

  /** While the whole guest is silent, that is told and not that its agent is. One that is expected no more is not missing. */
  #agentRound(agent: Probe, guest: Evidence | undefined, rules: HealthRules, now: number): MonitorNews[] {
    if (!rules.expectsAgent) {
      const wasMissing = this.#agent?.state === "reported";
      this.#agent = undefined;
      return wasMissing ? ["recovery"] : [];
    }
    this.#agent ??= new Subject(undiscovered(now));
    if (agent.type === "unknown") return agent.isSilent === true ? this.#agent.round("silent", rules, now) : [];
    if (agent.type === "missed" && guest !== "answered") return [];
    return this.#agent.round(agent.type, rules, now);
  }

  #applicationRounds(vm: VmRef, agent: Probe, rules: HealthRules, now: number): NewEvent[] {
    if (agent.type !== "answered" || agent.applications === undefined) return [];
    const told = this.#keepOnly(agent.applications, vm, now);
    for (const said of agent.applications) {
      const { name, kind, reason } = said;
      const subject = this.#applications.get(name)?.subject ?? new Subject(undiscovered(now));
      this.#applications.set(name, { said: { kind, reason }, subject });
      const evidence = applicationEvidence[said.state];
      const news = evidence === undefined ? [] : subject.round(evidence, rules, now);
      told.push(...eventsOf("application", news, vm, now, applicationData(said)));
    }
    return told;
  }

  /** What the agent watches no more cannot fail; that it had failed is over. */
  #keepOnly(named: readonly ApplicationState[], vm: VmRef, now: number): NewEvent[] {
    const told: NewEvent[] = [];
    for (const [name, { said, subject }] of this.#applications) {
      if (named.some((application) => application.name === name)) continue;
      this.#applications.delete(name);
      const news: MonitorNews[] = subject.state === "reported" ? ["recovery"] : [];
      const data = applicationData({ name, kind: said.kind, reason: "the agent watches it no more" });
      told.push(...eventsOf("application", news, vm, now, data));
    }
    return told;
  }
}

/** What an application's state is evidence of. */
const applicationEvidence = { ok: "answered", failing: "missed", pending: undefined } as const;

function undiscovered(now: number): SubjectState {
  return { state: "discovery", since: now };
}

/** An answer on any channel is one of the guest; nothing is known when none of them says anything. */
function guestEvidence({ agent, guestAgent }: Round): Evidence | undefined {
  const types = [agent.type, guestAgent?.type];
  if (types.includes("answered")) return "answered";
  return types.includes("missed") ? "missed" : undefined;
}

/** What cannot be told of a kind of subject has no event. */
function eventsOf(
  kind: SubjectKind,
  news: readonly MonitorNews[],
  vm: VmRef,
  now: number,
  data: Record<string, unknown>,
): NewEvent[] {
  const types: Partial<Record<MonitorNews, EventType>> = monitorEvents[kind];
  return news.flatMap((one) => {
    const type = types[one];
    return type === undefined ? [] : [vmEvent(type, vm, now, { data })];
  });
}

function applicationData({ name, kind, reason }: Pick<ApplicationState, "name" | "kind" | "reason">) {
  return { application: name, kind, ...(reason !== undefined && { reason }) };
}

function inWords({ agent, guestAgent }: Round): Record<string, string> {
  return { agent: probeInWords(agent), ...(guestAgent !== undefined && { guestAgent: probeInWords(guestAgent) }) };
}

function probeInWords(probe: Probe): string {
  return probe.type === "unknown" ? `unknown: ${probe.reason}` : probe.type;
}

function shownState({ stored }: Subject) {
  return { state: stored.state, since: rfc3339(stored.since) };
}

function shownSubject(subject: Subject) {
  return { ...shownState(subject), misses: subject.misses };
}

function shownChannel({ last, at, answeredAt }: Channel): ChannelEvidence {
  return {
    result: last.type,
    at: rfc3339(at),
    ...(last.type === "unknown" && { reason: last.reason }),
    ...(answeredAt !== undefined && { answeredAt: rfc3339(answeredAt) }),
  };
}
