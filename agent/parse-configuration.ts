/** The commands that configure this machine, from their options. Pure. */
import { type Target, targets } from "../shared/config-targets.ts";
import { parseDuration } from "../shared/cli/duration.ts";
import { usageError } from "../shared/cli/failure.ts";
import type { ConfigSource, ConfigurationCommand } from "./command.ts";
import type { Options, Subcommand } from "./program.ts";

/** Without what all commands have. */
type Own<C> = C extends ConfigurationCommand ? Omit<C, "isJson" | "socketPath" | "timeoutMs"> : never;

/** Throws CommandError (usage). `subcommand` is none for `-s TARGET`. */
export function configurationCommand(
  name: ConfigurationCommand["name"],
  options: Options,
  subcommand: Subcommand | undefined,
): Own<ConfigurationCommand> {
  const { config: configFile, stateDir: stateDirectory, runDir: runDirectory } = options;
  const common = { configFile, stateDirectory, runDirectory };
  const target = subcommand !== undefined && "target" in subcommand ? subcommand.target : scriptTarget(options);
  const modules = options.module ?? [];
  switch (name) {
    case "bootstrap":
      return { ...common, name, ...bootstrapOptions(options) };
    case "config":
      return { ...common, name, target, modules, source: sourceOf(options), isDryRun: options.dryRun === true };
    case "config enumerate":
      return { ...common, name, target, modules, isHumanReadable: options.humanReadable === true };
    case "config enable":
    case "config disable":
      return {
        ...common,
        name,
        target,
        module: subcommand !== undefined && "module" in subcommand ? subcommand.module : "",
      };
    case "config list":
    case "config status":
      return { ...common, name };
  }
}

function bootstrapOptions({ wait, otherwise, watch }: Options) {
  if (typeof watch === "string")
    throw usageError(`bootstrap --watch follows the commits; it takes no prefix '${watch}'`);
  if (watch === true && (wait !== undefined || otherwise !== undefined)) {
    throw usageError("--wait and --otherwise are of the first boot; bootstrap --watch waits for ever");
  }
  const waitMs = wait === undefined ? undefined : parseDuration(wait);
  if (wait !== undefined && waitMs === undefined) {
    throw usageError(`bootstrap --wait '${wait}' is not a duration like 90, 10m, 2h or 7d`);
  }
  return { waitMs, otherwise, isWatching: watch === true };
}

function scriptTarget({ script }: Options): Target {
  const target = targets.find((candidate) => candidate === (script ?? "configure"));
  if (target !== undefined) return target;
  throw usageError(`-s: there is no target '${script}'; the targets are ${targets.join(", ")}`);
}

function sourceOf({ stdin, file, consoleInput }: Options): ConfigSource {
  const sources: ConfigSource[] = [];
  if (stdin) sources.push({ from: "stdin" });
  if (file !== undefined) sources.push({ from: "file", path: file });
  if (consoleInput) sources.push({ from: "console" });
  if (sources.length > 1) throw usageError("--stdin, --file and --console-input are three sources of values; give one");
  return sources[0] ?? { from: "agent" };
}
