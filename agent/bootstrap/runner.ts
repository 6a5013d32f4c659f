/** Runs the modules of a target, one after the other in their order. One that fails does not keep the others from running. */
import { within } from "../../shared/abort.ts";
import {
  MAX_LINE_LENGTH,
  MAX_REPORTED_LINES,
  MAX_RESULTS_LENGTH,
  type ModuleOutcome,
  type Target,
} from "../../shared/bootstrap.ts";
import { durationInWords } from "../../shared/cli/duration.ts";
import { printable } from "../../shared/terminal-text.ts";
import { assertComplete, declaredBy, visibleValues, withSecretsMarked } from "./declared.ts";
import { secretMask } from "./mask-secrets.ts";
import { type ConfigModule, ModuleError, type ModuleResult, type Parameter, type Values } from "./module.ts";

/** A module whose time is up has its programs ended, which takes some seconds; then it is left behind. */
const END_GRACE_MS = 10_000;

/** How a module ended; no secret is left in any text. */
export interface ModuleEnd {
  name: string;
  outcome: ModuleOutcome;
  durationMs: number;
  /** Why it failed or was skipped: one line. */
  reason?: string;
  /** What it printed last, where it failed. */
  lines: string[];
  /** What it gave back. */
  results: Record<string, string>;
}

export interface RunnerOptions {
  target: Target;
  /** Those that are to run, in their order. */
  modules: readonly ConfigModule[];
  values: Values;
  /** For all of them together: who has not had its turn by then fails. */
  limitMs: number;
  signal: AbortSignal;
  started?: (module: ConfigModule) => Promise<void>;
  ended?: (end: ModuleEnd) => Promise<void>;
}

export interface RunnerResult {
  ends: ModuleEnd[];
  /** Keys of the secrets that modules were given. */
  usedSecrets: string[];
}

/** Of the modules that take part in a target, in the order in which they run. */
export function inOrder(modules: readonly ConfigModule[], target: Target): ConfigModule[] {
  const place = (module: ConfigModule): number => module.orders.get(target) ?? 0;
  return modules
    .filter(({ orders }) => orders.has(target))
    .sort((one, other) => place(one) - place(other) || (one.name < other.name ? -1 : 1));
}

/** Rejects with the signal's reason when it is aborted; else never for what a module does. */
export async function runModules(options: RunnerOptions): Promise<RunnerResult> {
  const { modules, target, signal } = options;
  const declared = await declaredBy(modules, target, signal);
  const endMs = performance.now() + options.limitMs;
  const ends: ModuleEnd[] = [];
  const used = new Set<string>();
  let values = withSecretsMarked(options.values, declared);
  for (const module of modules) {
    signal.throwIfAborted();
    await options.started?.(module);
    const parameters = declared.get(module) ?? [];
    const run = new ModuleRunner(module, { target, parameters, values, limitMs: endMs - performance.now(), signal });
    const end = await run.run();
    signal.throwIfAborted();
    for (const name of run.secrets) used.add(name);
    values = withSecretsMarked(withResults(values, end.results), declared);
    ends.push(end);
    await options.ended?.(end);
  }
  return { ends, usedSecrets: [...used] };
}

interface ModuleRunOptions {
  target: Target;
  /** Or why they are not known. */
  parameters: readonly Parameter[] | Error;
  values: Values;
  /** What is left of the time for the whole run. */
  limitMs: number;
  signal: AbortSignal;
}

/** One run of one module. */
class ModuleRunner {
  readonly #module: ConfigModule;
  readonly #options: ModuleRunOptions;
  readonly #mask: (text: string) => string;
  /** The keys of those that the module was given. */
  secrets: readonly string[] = [];

  constructor(module: ConfigModule, options: ModuleRunOptions) {
    this.#module = module;
    this.#options = options;
    this.#mask = secretMask(options.values);
  }

  async run(): Promise<ModuleEnd> {
    const startMs = performance.now();
    const head = { name: this.#module.name, lines: [], results: {} };
    const durationMs = (): number => Math.round(performance.now() - startMs);
    try {
      const { results, skipped } = await this.#attempt();
      if (skipped === undefined) {
        return { ...head, outcome: "ok", durationMs: durationMs(), results: this.#shownResults(results) };
      }
      return { ...head, outcome: "skipped", durationMs: durationMs(), reason: this.#line(skipped) };
    } catch (error) {
      const lines = error instanceof ModuleError ? error.lines.slice(-MAX_REPORTED_LINES) : [];
      const reason = this.#line(error instanceof Error ? error.message : String(error));
      return {
        ...head,
        outcome: "error",
        durationMs: durationMs(),
        reason,
        lines: lines.map((line) => this.#line(line)),
      };
    }
  }

  async #attempt(): Promise<ModuleResult> {
    const { parameters } = this.#options;
    if (parameters instanceof Error) throw parameters;
    const { values, secrets } = visibleValues(this.#options.values, parameters);
    assertComplete(parameters, values);
    this.secrets = secrets;
    return this.#inTime(values);
  }

  async #inTime(values: Values): Promise<ModuleResult> {
    const { target, limitMs, signal } = this.#options;
    if (limitMs <= 0) throw new ModuleError("the time for the whole run was over before its turn");
    const timeoutMs = Math.min(this.#module.timeoutMs, Math.ceil(limitMs));
    const timeUp = new AbortController();
    const timer = setTimeout(() => {
      timeUp.abort(new ModuleError(`it did not end within ${durationInWords(timeoutMs)}`));
    }, timeoutMs);
    try {
      const work = this.#module.run({ target, values, signal: AbortSignal.any([signal, timeUp.signal]) });
      const result = await within(timeoutMs + END_GRACE_MS, work);
      if (result !== undefined) return result;
      throw new ModuleError(`it did not end within ${durationInWords(timeoutMs)}, and could not be ended`);
    } finally {
      clearTimeout(timer);
    }
  }

  #shownResults(results: Readonly<Record<string, string>>): Record<string, string> {
    const shown = Object.entries(results).filter(([key]) => this.#options.values.get(key)?.isSecret !== true);
    return Object.fromEntries(shown.map(([key, value]) => [key, this.#mask(value)]));
  }

  #line(text: string): string {
    const line = printable(this.#mask(text));
    return line.length <= MAX_LINE_LENGTH ? line : `${line.slice(0, MAX_LINE_LENGTH - 3).toWellFormed()}...`;
  }
}

function withResults(values: Values, results: Record<string, string>): Values {
  const merged = new Map(values);
  for (const [key, value] of Object.entries(results)) merged.set(key, { value, isSecret: false });
  return merged;
}

/** The results that a report has room for. */
export function reportedResults(results: Record<string, string>): Record<string, string> | undefined {
  if (Object.keys(results).length === 0 || JSON.stringify(results).length > MAX_RESULTS_LENGTH) return undefined;
  return results;
}
