/** `agent config TARGET`, `agent -s TARGET`: runs a target's modules because somebody said so. */
import type { Target } from "../../shared/bootstrap.ts";
import { usageError } from "../../shared/cli/failure.ts";
import type { BootstrapConfig } from "./config.ts";
import { commitOf } from "./key-snapshot.ts";
import { assertComplete, declaredBy, visibleValues, withSecretsMarked } from "./declared.ts";
import { secretMask } from "./mask-secrets.ts";
import { type ConfigModule, ModuleError, type ModuleRun, type Parameter, type Values } from "./module.ts";
import { type RunEnd, type RunEnvironment, Runs } from "./one-run.ts";

export interface ByHand {
  target: Target;
  /** Only these modules; all when it is empty. */
  only: readonly string[];
  /** Values in the place of the agent's keys. */
  given: ((modules: readonly ConfigModule[]) => Promise<Values>) | undefined;
}

/** What a module would change, or why it would fail. */
export interface Preview {
  module: string;
  lines: string[];
  error?: string;
}

/** Throws CommandError: usage for a module that the target does not have, held while another run is under way. */
export async function runByHand(
  environment: RunEnvironment,
  byHand: ByHand,
  { commitKeys }: Pick<BootstrapConfig, "commitKeys">,
): Promise<RunEnd> {
  const { target, only } = byHand;
  const modules = await chosenModules(environment, byHand);
  const runs = new Runs(environment);
  return runs.alone(async () => {
    const { values, snapshot } = await valuesFor(modules, environment, byHand);
    const commit = snapshot && commitOf(snapshot.entries, commitKeys);
    const isPart = only.length > 0;
    // A part of a target, or the last thing that a template sees, is nobody else's news.
    const isSilent = isPart || target === "cleanup";
    const reporter = isSilent ? runs.silentReporter(target) : runs.reporter(target);
    return runs.run({ target, modules, values, snapshot, commit, isPart, isSilent }, reporter);
  });
}

/** What a run would change, a title and lines for each module. Throws as {@link runByHand} does. */
export async function preview(environment: RunEnvironment, byHand: ByHand): Promise<Preview[]> {
  const { target } = byHand;
  const modules = await chosenModules(environment, byHand);
  const { values } = await valuesFor(modules, environment, byHand);
  const declared = await declaredBy(modules, target, environment.signal);
  const marked = withSecretsMarked(values, declared);
  const previews: Preview[] = [];
  for (const module of modules) {
    const parameters = declared.get(module) ?? [];
    previews.push(await previewOf(module, { target, parameters, values: marked, signal: environment.signal }));
  }
  return previews;
}

async function previewOf(
  module: ConfigModule,
  { parameters, values, ...run }: ModuleRun & { parameters: readonly Parameter[] | Error },
): Promise<Preview> {
  const mask = secretMask(values);
  try {
    if (parameters instanceof Error) throw parameters;
    const { values: visible } = visibleValues(values, parameters);
    assertComplete(parameters, visible);
    const lines = await module.preview({ ...run, values: visible });
    return { module: module.name, lines: lines.map(mask) };
  } catch (error) {
    if (!(error instanceof ModuleError)) throw error;
    return { module: module.name, lines: [], error: mask(error.message) };
  }
}

async function chosenModules(environment: RunEnvironment, { target, only }: ByHand): Promise<ConfigModule[]> {
  const modules = await environment.modulesOf(target);
  const unknown = only.find((name) => modules.every((module) => module.name !== name));
  if (unknown === undefined) return only.length === 0 ? modules : modules.filter(({ name }) => only.includes(name));
  const known = modules.map(({ name }) => name).join(", ");
  throw usageError(`no module '${unknown}' takes part in ${target}; those that do: ${known || "none"}`);
}

async function valuesFor(modules: readonly ConfigModule[], { door }: RunEnvironment, { given }: ByHand) {
  if (given !== undefined) return { values: await given(modules), snapshot: undefined };
  const snapshot = await door.readKeys();
  return { values: snapshot.values, snapshot };
}
