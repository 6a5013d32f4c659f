import type { Target } from "../../../shared/bootstrap.ts";
import { type AppliedFiles, RenderedFiles } from "../files/rendered-files.ts";
import { secretMask } from "../mask-secrets.ts";
import {
  type ConfigModule,
  ModuleError,
  type ModuleResult,
  type ModuleRun,
  type Parameter,
  type Values,
} from "../module.ts";
import type { UnitAction, UnitOutcome, Units } from "../units.ts";
import type { FileTemplate } from "./check-files.ts";
import { changeInLines } from "./preview.ts";
import { renderFiles } from "./render-files.ts";
import { commandInWords, runCheck } from "./run-check.ts";
import type { SecretFiles, SecretUses } from "./secret-files.ts";
import type { TemplateFile } from "./template-file.ts";
import { planOf, type RenderPlan } from "./used-secrets.ts";
import { type TemplateParameter, type Variables, variablesFrom } from "./variables.ts";
import { shortened } from "./words.ts";

/** For all units to be asked back when the time is up. Not measured. */
const GO_BACK_TIMEOUT_MS = 5_000;

const NOTHING_SET = "none of its keys is set";

/** Of each of its results, which have to fit a report together. */
const MAX_RESULT_LENGTH = 800;

const outcomeInWords: Record<UnitOutcome, string> = {
  done: "done",
  deferred: "deferred: it starts with the new files after the configuration",
};

interface Acted {
  unit: string;
  outcome: UnitOutcome;
}

export interface TemplateModuleOptions {
  path: string;
  file: TemplateFile;
  parameters: readonly TemplateParameter[];
  files: readonly FileTemplate[];
  units: Units;
  /** Without, nobody remembers which files hold secrets. */
  secretFiles: SecretFiles | undefined;
}

/**
 * A declarative template: renders its files, has its check look at them, and has its units take them. All of it happens, or
 * none of it: when the check or a unit fails, the files are put back, and the units take those. A file that was rendered with a
 * secret which is not set any more is left alone, or the module fails before anything changes ({@link planOf}).
 */
export class TemplateModule implements ConfigModule {
  readonly kind = "template";
  readonly name: string;
  readonly description: string;
  readonly path: string;
  readonly orders: ReadonlyMap<Target, number>;
  readonly timeoutMs: number;
  readonly #parameters: readonly TemplateParameter[];
  readonly #files: readonly FileTemplate[];
  readonly #check: readonly string[] | undefined;
  readonly #actions: readonly UnitAction[];
  readonly #units: Units;
  readonly #secretFiles: SecretFiles | undefined;

  constructor({ path, file, parameters, files, units, secretFiles }: TemplateModuleOptions) {
    this.path = path;
    this.name = file.name;
    this.description = file.description;
    this.orders = new Map([
      ["configure", file.configure],
      ["reconfigure", file.reconfigure],
    ]);
    this.timeoutMs = file.timeoutMs;
    this.#parameters = parameters;
    this.#files = files;
    this.#check = file.check;
    this.#actions = [
      ...file.units.restart.map((unit): UnitAction => ({ type: "restart", unit })),
      ...file.units.reload.map((unit): UnitAction => ({ type: "reload", unit })),
    ];
    this.#units = units;
    this.#secretFiles = secretFiles;
  }

  parameters(): Promise<readonly Parameter[]> {
    return Promise.resolve(this.#parameters.map(({ parameter }) => parameter));
  }

  async run({ values, signal }: ModuleRun): Promise<ModuleResult> {
    const variables = variablesFrom(this.#parameters, values);
    if (variables === undefined) return { results: {}, skipped: NOTHING_SET };
    const { files, uses } = await this.#plan(values, variables);
    const applied = await new RenderedFiles(renderFiles(files, variables)).apply(signal);
    const acted = await this.#takeUp(applied, uses, signal);
    await applied.keep();
    return { results: this.#results(applied.changed, acted) };
  }

  async preview({ values }: ModuleRun): Promise<string[]> {
    const variables = variablesFrom(this.#parameters, values);
    if (variables === undefined) return [`would be skipped: ${NOTHING_SET}`];
    const { files } = await this.#plan(values, variables);
    const changes = changesInLines(files, variables);
    const mask = secretMask(withOwnSecrets(this.#parameters, values));
    return this.#isNeeded(changes) ? [...changes, ...this.#stepsInLines()].map(mask) : [];
  }

  async #plan(values: Values, variables: Variables): Promise<RenderPlan> {
    const noted = await this.#secretFiles?.load();
    return planOf(this.#files, this.#parameters, values, variables, noted ?? new Map());
  }

  /** A template without files has its check run and its units act each time; else what did not change needs neither. */
  #isNeeded(changes: readonly string[]): boolean {
    return this.#files.length === 0 || changes.length > 0;
  }

  async #takeUp(applied: AppliedFiles, uses: SecretUses, signal: AbortSignal): Promise<Acted[]> {
    const begun: UnitAction[] = [];
    const acted: Acted[] = [];
    const isNeeded = this.#isNeeded(applied.changed);
    try {
      if (isNeeded && this.#check !== undefined) await runCheck(this.#check, signal);
      for (const action of isNeeded ? this.#actions : []) {
        begun.push(action);
        acted.push({ unit: action.unit, outcome: await this.#units.act(action, signal) });
      }
      await this.#secretFiles?.note(uses);
      return acted;
    } catch (error) {
      const lines = error instanceof ModuleError ? error.lines : [];
      const aftermath = await this.#goBack(applied, begun, signal);
      throw new ModuleError([(error as Error).message, ...aftermath].join("; "), lines, { cause: error });
    }
  }

  /** What became of it, in words. */
  async #goBack(applied: AppliedFiles, begun: readonly UnitAction[], signal: AbortSignal): Promise<string[]> {
    const hasChanged = applied.changed.length > 0;
    const outcome = await applied.rollBack();
    if (!hasChanged) return [];
    const problems: string[] = [];
    let lastMoment: AbortSignal | undefined;
    for (const action of begun) {
      try {
        // Whose time is up cannot wait for it.
        if (signal.aborted) await this.#units.queue(action, (lastMoment ??= AbortSignal.timeout(GO_BACK_TIMEOUT_MS)));
        else await this.#units.act(action, signal);
      } catch (error) {
        problems.push(`${action.unit} could not be made to run with them: ${(error as Error).message}`);
      }
    }
    return [outcome, ...problems];
  }

  #results(changed: readonly string[], acted: readonly Acted[]): Record<string, string> {
    const units = acted.map(({ unit, outcome }) => `${unit} ${outcomeInWords[outcome]}`);
    return {
      ...(changed.length > 0 && { [`${this.name}.files`]: shortened(changed.join(", "), MAX_RESULT_LENGTH) }),
      ...(units.length > 0 && { [`${this.name}.units`]: shortened(units.join(", "), MAX_RESULT_LENGTH) }),
    };
  }

  #stepsInLines(): string[] {
    const check = this.#check === undefined ? [] : [`would check with ${commandInWords(this.#check)}`];
    return [...check, ...this.#actions.map(({ type, unit }) => `would ${type} ${unit}`)];
  }
}

function changesInLines(files: readonly FileTemplate[], variables: Variables): string[] {
  const changes = new RenderedFiles(renderFiles(files, variables)).changes();
  const templates = new Map(files.map((template) => [template.path, template]));
  return changes.flatMap((change) => {
    const template = templates.get(change.file.path);
    return template === undefined ? [] : changeInLines(change, template, variables);
  });
}

/** What a parameter says is a secret is one, however it was set. */
function withOwnSecrets(parameters: readonly TemplateParameter[], values: Values): Values {
  const secret = parameters.filter(({ parameter }) => parameter.password).map(({ parameter }) => parameter);
  const keys = new Set(secret.flatMap(({ key, aliases }) => [key, ...aliases]));
  return new Map(
    [...values].map(([key, given]) => [key, keys.has(key) ? { ...given, isSecret: true } : given] as const),
  );
}
