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
import { secretMask } from "./mask-secrets.ts";
import {
  type ConfigModule,
  type GivenValue,
  ModuleError,
  type ModuleResult,
  type Parameter,
  valueOf,
  type Values,
} from "./module.ts";

/** What a module is asked for before it runs takes no work. */
const PARAMETERS_TIMEOUT_MS = 10_000;

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
  signal: AbortSignal;
  started?: (module: ConfigModule) => Promise<void>;
  ended?: (end: ModuleEnd) => Promise<void>;
}

export interface RunnerResult {
  ends: ModuleEnd[];
  /** Keys of secrets that a module was given and that no module wants to be kept. */
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
  const { modules, signal } = options;
  const ends: ModuleEnd[] = [];
  const used = new Set<string>();
  const kept = new Set<string>();
  let { values } = options;
  for (const module of modules) {
    signal.throwIfAborted();
    await options.started?.(module);
    const run = new ModuleRunner(module, options, values);
    const end = await run.run();
    signal.throwIfAborted();
    for (const key of run.secrets.used) used.add(key);
    for (const key of run.secrets.kept) kept.add(key);
    values = withResults(values, end.results);
    ends.push(end);
    await options.ended?.(end);
  }
  return { ends, usedSecrets: [...used].filter((key) => !kept.has(key)) };
}

/** The parameters that the modules take, those left out that cannot say which they are. */
export async function declaredParameters(
  modules: readonly ConfigModule[],
  target: Target,
  signal: AbortSignal,
): Promise<Parameter[]> {
  const declared = modules.map((module) => parametersOf(module, target, signal).catch(() => []));
  return (await Promise.all(declared)).flat();
}

export function parametersOf(module: ConfigModule, target: Target, signal: AbortSignal): Promise<readonly Parameter[]> {
  return module.parameters(target, AbortSignal.any([signal, AbortSignal.timeout(PARAMETERS_TIMEOUT_MS)]));
}

/** One run of one module. */
class ModuleRunner {
  readonly #module: ConfigModule;
  readonly #options: RunnerOptions;
  readonly #values: Values;
  /** Secrets that the module was given, and those it wants to be kept, by the keys that hold them. */
  secrets: { used: readonly string[]; kept: readonly string[] } = { used: [], kept: [] };
  #mask: (text: string) => string;

  constructor(module: ConfigModule, options: RunnerOptions, values: Values) {
    this.#module = module;
    this.#options = options;
    this.#values = values;
    this.#mask = secretMask(values);
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
    const { target, signal } = this.#options;
    const parameters = await parametersOf(this.#module, target, signal);
    const { values, used, kept } = visibleValues(this.#values, parameters);
    this.secrets = { used, kept };
    this.#mask = secretMask(new Map([...this.#values, ...values]));
    const missing = parameters.filter((parameter) => isMissing(parameter, values)).map(({ key }) => key);
    if (missing.length > 0) throw new ModuleError(`needs ${missing.join(", ")}, which is not set`);
    return this.#inTime(values);
  }

  async #inTime(values: Values): Promise<ModuleResult> {
    const { timeoutMs } = this.#module;
    const { target, signal } = this.#options;
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
    const shown = Object.entries(results).filter(([key]) => this.#values.get(key)?.isSecret !== true);
    return Object.fromEntries(shown.map(([key, value]) => [key, this.#mask(value)]));
  }

  #line(text: string): string {
    const line = printable(this.#mask(text));
    return line.length <= MAX_LINE_LENGTH ? line : `${line.slice(0, MAX_LINE_LENGTH - 3).toWellFormed()}...`;
  }
}

/**
 * What a module may see: all that are no secrets, and the secrets among its parameters, which come with their keys: those
 * that it uses up, and those that it wants to be kept.
 */
export function visibleValues(
  values: Values,
  parameters: readonly Parameter[],
): { values: Values; used: string[]; kept: string[] } {
  const names = parameters.flatMap((parameter) =>
    [parameter.key, ...parameter.aliases].map((name) => ({ name, parameter })),
  );
  const secrets = names.filter(({ name, parameter }) => {
    const given = values.get(name);
    return given !== undefined && (given.isSecret || parameter.password);
  });
  const secretNames = new Set(secrets.map(({ name }) => name));
  const visible = new Map<string, GivenValue>();
  for (const [name, given] of values) {
    if (secretNames.has(name)) visible.set(name, { ...given, isSecret: true });
    else if (!given.isSecret) visible.set(name, given);
  }
  const namesWhere = (isKept: boolean) =>
    secrets.filter(({ parameter }) => parameter.keep === isKept).map(({ name }) => name);
  return { values: visible, used: namesWhere(false), kept: namesWhere(true) };
}

function isMissing(parameter: Parameter, values: Values): boolean {
  return parameter.required && parameter.default === undefined && valueOf(parameter, values) === undefined;
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
