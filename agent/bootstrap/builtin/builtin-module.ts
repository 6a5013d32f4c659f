/** What the modules that come with the agent have in common: each takes one text, and plans before it changes anything. */
import type { Target } from "../../../shared/bootstrap.ts";
import {
  type ConfigModule,
  type ModuleResult,
  type ModuleRun,
  ModuleError,
  type Parameter,
  valueOf,
} from "../module.ts";

/** The programs of Linux that change users and names take a moment each. Not measured. */
const TIMEOUT_MS = 60_000;

/** What is to be done, found out without a change of anything. */
export interface Plan {
  /** For a person: unified diffs of files, sentences for the rest. None where all is as it should be. */
  lines: readonly string[];
  /** Throws ModuleError. */
  carryOut: () => Promise<void>;
}

export interface BuiltinOptions {
  name: string;
  description: string;
  /** Its place among the modules of both targets, `configure` and `reconfigure`. */
  order: number;
  parameter: Parameter;
  /** Throws ModuleError when it cannot be done. */
  plan: (text: string, signal: AbortSignal) => Promise<Plan>;
}

export class BuiltinModule implements ConfigModule {
  readonly kind = "builtin";
  readonly path = undefined;
  readonly timeoutMs = TIMEOUT_MS;
  readonly name: string;
  readonly description: string;
  readonly orders: ReadonlyMap<Target, number>;
  readonly #parameter: Parameter;
  readonly #plan: BuiltinOptions["plan"];

  constructor({ name, description, order, parameter, plan }: BuiltinOptions) {
    this.name = name;
    this.description = description;
    this.orders = new Map([
      ["configure", order],
      ["reconfigure", order],
    ]);
    this.#parameter = parameter;
    this.#plan = plan;
  }

  parameters(target: Target): Promise<readonly Parameter[]> {
    return Promise.resolve(this.orders.has(target) ? [this.#parameter] : []);
  }

  async run(run: ModuleRun): Promise<ModuleResult> {
    const plan = await this.#planOf(run);
    if (plan === undefined) return { results: {}, skipped: this.#notSet };
    await plan.carryOut();
    return { results: {} };
  }

  async preview(run: ModuleRun): Promise<string[]> {
    const plan = await this.#planOf(run);
    return plan === undefined ? [this.#notSet] : [...plan.lines];
  }

  get #notSet(): string {
    return `${this.#parameter.key} is not set`;
  }

  /** Undefined when it was not given anything. */
  async #planOf({ values, signal }: ModuleRun): Promise<Plan | undefined> {
    const given = valueOf(this.#parameter, values);
    if (given === undefined) return undefined;
    if (typeof given.value !== "string") throw new ModuleError(`the value of ${this.#parameter.key} is not UTF-8 text`);
    return this.#plan(given.value, signal);
  }
}
