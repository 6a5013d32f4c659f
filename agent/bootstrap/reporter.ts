/** Tells of a run as it goes: under its key for whoever looks, and by reports in the durable queue for the host. */
import { within } from "../../shared/abort.ts";
import {
  type BootstrapMessage,
  type BootstrapMessageName,
  type BootstrapReport,
  MAX_SHOWN_LINES,
  outcomeOf,
  REPORT_KEY,
} from "../../shared/bootstrap.ts";
import { newNonce } from "../../shared/random.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import type { AgentDoor } from "./agent-door.ts";
import type { Commit } from "./key-snapshot.ts";
import type { ConfigModule } from "./module.ts";
import { PATIENCE_MS, patiently } from "./patiently.ts";
import { type ModuleEnd, reportedResults } from "./runner.ts";

/** Lines of modules in all reports of a run, in UTF-16 code units: the queue has room for them, and for the last word. */
const MAX_LINES_LENGTH = 64 * 1024;

/** Whoever shuts the machine down does not wait for long. */
const LAST_WORD_MS = 1_000;

const MAX_REASON_LENGTH = 256;

/** Whom a run is told to. */
export type Audience = Pick<AgentDoor, "show" | "tell">;

export type RunFacts = Pick<BootstrapReport, "target" | "instance">;

type Message = { [N in BootstrapMessageName]: { name: N; data: BootstrapMessage<N> } }[BootstrapMessageName];

export class Reporter {
  readonly #door: Audience;
  readonly #note: (text: string) => void;
  readonly #startMs = performance.now();
  #report: BootstrapReport;
  #messages = 0;
  /** Whether the last word reached the agent: one that is away is not waited for at each step. */
  #isHeard = true;
  #isShown = true;
  #linesLeft = MAX_LINES_LENGTH;

  constructor(door: Audience, facts: RunFacts, note: (text: string) => void) {
    this.#door = door;
    this.#note = note;
    const head = { ...facts, run: newNonce(), commit: null, messageId: null };
    this.#report = { ...head, state: "waiting", startedAt: rfc3339(Date.now()), modules: [] };
  }

  /** The run has not begun: it waits for its commit. */
  async waiting(): Promise<void> {
    await this.#show({});
  }

  /** What the run is for, known once it has come. */
  isFor(commit: Commit | undefined): void {
    const { value = null, messageId = null } = commit ?? {};
    this.#report = { ...this.#report, commit: value, messageId };
  }

  async begun(modules: readonly ConfigModule[]): Promise<void> {
    const names = modules.map(({ name }) => name);
    const pending = names.map((name) => ({ name, state: "pending" as const }));
    await this.#show({ state: "running", modules: pending });
    await this.#tell({ name: "bootstrap.started", data: { ...this.#head, modules: names } });
  }

  async moduleBegun({ name }: ConfigModule): Promise<void> {
    await this.#show({ modules: this.#modulesWith({ name, state: "running" }) });
  }

  async moduleEnded({ name, outcome, durationMs, reason, lines, results }: ModuleEnd): Promise<void> {
    const told = reportedResults(results);
    const why = reason === undefined ? {} : { reason };
    const shown = lines.length === 0 ? {} : { lines: lines.slice(-MAX_SHOWN_LINES) };
    await this.#show({ modules: this.#modulesWith({ name, state: outcome, durationMs, ...why, ...shown }) });
    const data = { ...this.#head, module: name, outcome, durationMs, ...why, lines: this.#linesToTell(lines) };
    await this.#tell({ name: "bootstrap.module", data: { ...data, ...(told && { results: told }) } });
  }

  /** How the run ended, before anybody is told. @param reason why it failed as a whole */
  conclude(outcome: "ok" | "error", reason?: string): BootstrapReport {
    const durationMs = Math.round(performance.now() - this.#startMs);
    const why = reason === undefined ? {} : { reason: reason.slice(0, MAX_REASON_LENGTH).toWellFormed() };
    return (this.#report = { ...this.#report, state: outcome, durationMs, ...why });
  }

  /** Resolves with false when the agent could not be told. */
  async ended(): Promise<boolean> {
    await this.#show({});
    return this.#tell(endedMessage(this.#report));
  }

  /** It was ended from outside, and is begun again at the next start. */
  async interrupted(): Promise<void> {
    await within(LAST_WORD_MS, this.#show({ reason: "it was interrupted, and is begun again at the next start" }));
  }

  #linesToTell(lines: string[]): string[] {
    const length = lines.reduce((sum, line) => sum + line.length, 0);
    if (length > this.#linesLeft) return [];
    this.#linesLeft -= length;
    return lines;
  }

  get #head() {
    const { run, target, instance, commit, messageId } = this.#report;
    return { run, target, instance, commit, messageId };
  }

  #modulesWith(module: BootstrapReport["modules"][number]): BootstrapReport["modules"] {
    return this.#report.modules.map((other) => (other.name === module.name ? module : other));
  }

  /** Best effort: a run goes on whether or not anybody can see it. */
  async #show(news: Partial<BootstrapReport>): Promise<void> {
    this.#report = { ...this.#report, ...news };
    try {
      await this.#door.show(this.#report);
      this.#isShown = true;
    } catch (error) {
      if (this.#isShown) this.#note(`'${REPORT_KEY}' does not show the run: ${(error as Error).message}`);
      this.#isShown = false;
    }
  }

  async #tell(message: Message): Promise<boolean> {
    const isLast = message.name === "bootstrap.ended";
    const id = isLast ? endedMessageId(this.#report.run) : `${this.#report.run}.${(this.#messages += 1)}`;
    const patienceMs = this.#isHeard || isLast ? PATIENCE_MS : 0;
    this.#isHeard = await tellPatiently(this.#door, message, { id, note: this.#note, patienceMs });
    return this.#isHeard;
  }
}

/** Of a run that has ended. */
function endedMessage({ run, target, instance, commit, messageId, ...rest }: BootstrapReport): Message {
  const { state, durationMs = 0, reason, modules } = rest;
  const outcomes = modules.map(({ name, state: of }) => ({ name, outcome: outcomeOf(of) }));
  const head = { run, target, instance, commit, messageId };
  const data = { ...head, outcome: state === "ok" ? ("ok" as const) : ("error" as const) };
  const why = reason === undefined ? {} : { reason };
  return { name: "bootstrap.ended", data: { ...data, durationMs, ...why, modules: outcomes } };
}

/** The same for each telling, so that a second one has no effect. */
function endedMessageId(run: string): string {
  return `${run}.ended`;
}

/** Tells again how a run ended whose last word may not have reached the agent. */
export function tellEnd(door: Audience, report: BootstrapReport, note: (text: string) => void): Promise<boolean> {
  return tellPatiently(door, endedMessage(report), { id: endedMessageId(report.run), note, patienceMs: PATIENCE_MS });
}

function tellPatiently(
  door: Audience,
  { name, data }: Message,
  { id, note, patienceMs }: { id: string; note: (text: string) => void; patienceMs: number },
): Promise<boolean> {
  return patiently(
    patienceMs,
    () => door.tell(name, data, id),
    ({ message }) => {
      note(`the host is not told of '${name}': ${message}`);
    },
  );
}
