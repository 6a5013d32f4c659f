/**
 * A module that is an executable, called as ovm-template-config calls its own: `PATH TARGET` with the values as a JSON object
 * on its standard input, and `PATH --enumerate TARGET` for a JSON list of its parameters.
 */
import { join } from "node:path";
import * as z from "zod/mini";
import type { Target } from "../../../shared/bootstrap.ts";
import { describeIssues, key } from "../../../shared/protocol/message.ts";
import { toWireValue } from "../../../shared/protocol/value.ts";
import {
  type ConfigModule,
  type GivenValue,
  ModuleError,
  type ModuleResult,
  type ModuleRun,
  type Parameter,
  type Values,
} from "../module.ts";
import { notUnderstood, readAnswer, resultsIn } from "./answer.ts";
import type { PluginHeader } from "./plugin-header.ts";
import { runScript, type ScriptRun } from "./run-script.ts";

/** Where the package `templateconfig` is beside the bundle that is shipped. In the source tree it is packaging/python. */
export const SHIPPED_PYTHON_DIRECTORY = join(import.meta.dirname, "python");

/** To say what it takes is no work for a script, even one that may work for long. */
const ENUMERATE_TIMEOUT_MS = 10_000;

/** Not measured: Oracle's largest module takes a few dozen. */
const MAX_PARAMETERS = 256;
const MAX_DESCRIPTION_LENGTH = 1024;

const parameterList = z
  .array(
    z.object({
      key,
      description: z._default(z.string().check(z.maxLength(MAX_DESCRIPTION_LENGTH)), ""),
      required: z._default(z.boolean(), false),
      hidden: z._default(z.boolean(), false),
      password: z._default(z.boolean(), false),
    }),
  )
  .check(z.maxLength(MAX_PARAMETERS));

export interface ScriptModuleOptions {
  path: string;
  header: PluginHeader;
  /** Where Python finds the package `templateconfig`. */
  pythonDirectory: string;
}

export class ScriptModule implements ConfigModule {
  readonly name: string;
  readonly description: string;
  readonly kind = "script";
  readonly path: string;
  readonly orders: ReadonlyMap<Target, number>;
  readonly timeoutMs: number;
  readonly #environment: Readonly<Record<string, string>>;

  constructor({ path, header, pythonDirectory }: ScriptModuleOptions) {
    this.path = path;
    this.name = header.name;
    this.description = header.description;
    this.orders = header.orders;
    this.timeoutMs = header.timeoutMs;
    // Compiled files beside the package would be nobody's.
    this.#environment = { PYTHONPATH: pythonDirectory, PYTHONDONTWRITEBYTECODE: "1" };
  }

  /** None for a script that does not know the question. */
  async parameters(target: Target, signal: AbortSignal): Promise<readonly Parameter[]> {
    try {
      return await this.#enumerate(target, signal);
    } catch (error) {
      if (!(error instanceof ModuleError)) throw error;
      throw new ModuleError(`--enumerate ${target}: ${error.message}`, error.lines, { cause: error });
    }
  }

  async run({ target, values, signal }: ModuleRun): Promise<ModuleResult> {
    const input = Buffer.from(`${JSON.stringify(asJson(values))}\n`);
    const { timeoutMs } = this;
    const { code, stdout, lines } = await runScript({ ...this.#program([target], signal), input, timeoutMs });
    if (code !== 0) throw new ModuleError(`exit code ${code}`, lines);
    return { results: resultsIn(stdout, values) };
  }

  /** What a script would change only the script knows. */
  preview({ target, values }: ModuleRun): Promise<string[]> {
    const count = values.size === 1 ? "1 value" : `${values.size} values`;
    return Promise.resolve([`would run ${this.path} ${target} with ${count}`]);
  }

  async #enumerate(target: Target, signal: AbortSignal): Promise<Parameter[]> {
    const timeoutMs = Math.min(this.timeoutMs, ENUMERATE_TIMEOUT_MS);
    const { code, stdout } = await runScript({ ...this.#program(["--enumerate", target], signal), timeoutMs });
    const answer = code === 0 ? readAnswer(stdout) : undefined;
    if (answer === undefined) return [];
    if (!Array.isArray(answer)) throw notUnderstood(stdout, "a JSON list");
    const parsed = parameterList.safeParse(answer);
    if (!parsed.success) throw new ModuleError(`its list of parameters: ${describeIssues(parsed.error)}`);
    return parsed.data.map((parameter) => ({ ...parameter, aliases: [], keep: false }));
  }

  #program(args: readonly string[], signal: AbortSignal): Omit<ScriptRun, "timeoutMs"> {
    return { file: this.path, args, environment: this.#environment, signal };
  }
}

/** Values by their keys; bytes that are not text as `{"base64": "..."}`, as `agent -l` prints them. */
function asJson(values: Values): Record<string, unknown> {
  return Object.fromEntries([...values].map(([name, { value }]) => [name, shownAs(value)]));
}

function shownAs(value: GivenValue["value"]): unknown {
  return typeof value === "string" ? value : toWireValue(value);
}
