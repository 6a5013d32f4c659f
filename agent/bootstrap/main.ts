/** `agent bootstrap` and `agent config`: the entry of a bundle of its own, which no other command loads. */
import { readFileSync } from "node:fs";
import type { BootstrapReport, Target } from "../../shared/bootstrap.ts";
import { asFailure, CommandError, usageError } from "../../shared/cli/failure.ts";
import type { Output } from "../../shared/cli/output.ts";
import type { Asking } from "../../shared/cli/password-reader.ts";
import { tableLines } from "../../shared/cli/table.ts";
import { ConfigError } from "../../shared/config-file.ts";
import { type ErrorCode, unreachable } from "../../shared/protocol/errors.ts";
import type {
  BootstrapCommand,
  ConfigCommand,
  ConfigurationCommand,
  EnableCommand,
  EnumerateCommand,
} from "../command.ts";
import { thisMachine } from "../machine.ts";
import { AgentDoor } from "./agent-door.ts";
import { builtinModules } from "./builtin/index.ts";
import { type ByHand, preview, runByHand } from "./by-hand.ts";
import { type BootstrapConfig, readBootstrapConfig } from "./config.ts";
import { startConfiguredTarget } from "./configured-target.ts";
import { declaredBy, parametersIn } from "./declared.ts";
import { Enabling } from "./enabling.ts";
import { enumerate, enumerationJson, enumerationLines } from "./enumerate.ts";
import { findModules, type FoundModules } from "./find-modules.ts";
import { firstBoot } from "./first-boot.ts";
import type { ConfigModule } from "./module.ts";
import { type RunEnvironment, Runs } from "./one-run.ts";
import { moduleLine, reportLines, runLine } from "./report-lines.ts";
import { inOrder, type ModuleEnd } from "./runner.ts";
import { SHIPPED_PYTHON_DIRECTORY } from "./scripts/script-module.ts";
import { askValues } from "./values/ask-values.ts";
import { readValues } from "./values/read-values.ts";
import { watch } from "./watch.ts";

/** What a command runs in, so that nothing here touches the process itself. */
export interface Context extends Asking {
  output: Output;
}

const MACHINE_ID_FILE = "/etc/machine-id";

/** How a command ended. The caller has classes of its own: no error crosses from one bundle to the other. */
export type ConfigurationEnd =
  { type: "done" } | { type: "failed"; code: ErrorCode; message: string; details: Record<string, unknown> };

/** Rejects with the interrupt's reason when that is aborted, and with what is a bug. */
export async function configure(command: ConfigurationCommand, context: Context): Promise<ConfigurationEnd> {
  try {
    await new Configuration(command, context).carryOut(command);
    return { type: "done" };
  } catch (error) {
    if (context.interrupt.aborted) throw context.interrupt.reason as Error;
    if (error instanceof ConfigError) return { type: "failed", code: "usage", message: error.message, details: {} };
    const failure = asFailure(error);
    if (!(failure instanceof CommandError)) throw error;
    const { code, message, details } = failure;
    return { type: "failed", code, message, details };
  }
}

class Configuration {
  readonly #context: Context;
  readonly #configFile: string | undefined;
  #readConfig: BootstrapConfig | undefined;
  readonly #environment: RunEnvironment;
  readonly #isJson: boolean;

  constructor(command: ConfigurationCommand, context: Context) {
    const { output, interrupt } = context;
    const { stateDirectory, runDirectory, socketPath, isJson } = command;
    this.#context = context;
    this.#isJson = isJson;
    this.#configFile = command.configFile;
    this.#environment = {
      door: new AgentDoor(socketPath),
      stateDirectory,
      runDirectory,
      instance: thisMachine().uuid ?? machineId(),
      modulesOf: (target) => this.#enabledModules(target),
      note: (text) => {
        output.note(text);
      },
      ended: (end) => {
        this.#printEnd(end);
      },
      signal: interrupt,
    };
  }

  /** Throws ConfigError. */
  get #config(): BootstrapConfig {
    return (this.#readConfig ??= readBootstrapConfig(this.#configFile));
  }

  carryOut(command: ConfigurationCommand): Promise<void> {
    switch (command.name) {
      case "bootstrap":
        return command.isWatching ? this.#watch() : this.#firstBoot(command);
      case "config":
        return command.isDryRun ? this.#preview(command) : this.#run(command);
      case "config enumerate":
        return this.#enumerate(command);
      case "config list":
        return this.#list();
      case "config enable":
      case "config disable":
        return this.#enable(command);
      case "config status":
        return this.#status();
      default:
        return unreachable(command);
    }
  }

  async #firstBoot({ waitMs, otherwise }: BootstrapCommand): Promise<void> {
    const end = await firstBoot(this.#environment, () => {
      const config = this.#config;
      return { ...config, wait: waitMs ?? config.wait, otherwise: otherwise ?? config.otherwise };
    });
    if (end.type === "already") {
      this.#context.output.note("this machine is configured already");
      return;
    }
    const { report } = end;
    if (this.#isJson) this.#context.output.json(report);
    if (end.type === "late") throw new CommandError("unreachable", runLine(report));
    if (report.state === "error") throw new CommandError("failed", runLine(report));
    this.#context.output.note(runLine(report));
  }

  async #watch(): Promise<void> {
    const { output } = this.#context;
    await watch({
      environment: this.#environment,
      config: this.#config,
      ran: async (report) => {
        if (this.#isJson) output.json(report);
        else output.note(runLine(report));
        await this.#reach(report);
      },
    });
  }

  async #run(command: ConfigCommand): Promise<void> {
    const { report, ends } = await runByHand(this.#environment, this.#byHand(command), this.#config);
    if (this.#isJson) this.#context.output.json({ ...report, modules: ends });
    if (report.state === "error") throw new CommandError("failed", runLine(report));
    if (command.modules.length === 0) await this.#reach(report);
  }

  /** Whatever waits for a machine that is configured: perhaps its first boot gave up before the commit came. */
  async #reach({ target, state }: BootstrapReport): Promise<void> {
    if (target !== "configure" || state !== "ok") return;
    await startConfiguredTarget(this.#context.interrupt).catch((error: unknown) => {
      this.#context.output.note((error as Error).message);
    });
  }

  async #preview(command: ConfigCommand): Promise<void> {
    const { output } = this.#context;
    const previews = await preview(this.#environment, this.#byHand(command));
    if (this.#isJson) output.json({ target: command.target, modules: previews });
    else {
      for (const { module, lines, error } of previews) {
        output.line(`# ${module}`);
        for (const line of error === undefined ? lines : [`would fail: ${error}`]) output.line(line);
      }
    }
    const failing = previews.filter(({ error }) => error !== undefined).map(({ module }) => module);
    if (failing.length > 0) throw new CommandError("failed", `would fail: ${failing.join(", ")}`);
  }

  #byHand({ target, modules: only, source }: ConfigCommand): ByHand {
    const { interrupt, stdin } = this.#context;
    switch (source.from) {
      case "agent":
        return { target, only, given: undefined };
      case "file":
        return { target, only, given: () => readValues(source, interrupt) };
      case "stdin":
        return { target, only, given: () => readValues({ from: "stdin", stdin }, interrupt) };
      case "console":
        return {
          target,
          only,
          given: async (modules) => {
            return askValues(parametersIn(await declaredBy(modules, target, interrupt)), this.#context);
          },
        };
      default:
        return unreachable(source);
    }
  }

  async #enumerate({ target, modules: only, isHumanReadable }: EnumerateCommand): Promise<void> {
    const { output, interrupt } = this.#context;
    const modules = await this.#enabledModules(target);
    const chosen = only.length === 0 ? modules : modules.filter(({ name }) => only.includes(name));
    const enumerated = await enumerate(chosen, target, interrupt);
    if (isHumanReadable) for (const line of enumerationLines(enumerated)) output.line(line);
    else output.json(enumerationJson(enumerated));
  }

  async #list(): Promise<void> {
    const { output } = this.#context;
    const { modules } = await this.#find();
    const enabling = await Enabling.open(this.#environment.stateDirectory);
    const rows = modules.map((module) => ({
      module: module.name,
      kind: module.kind,
      path: module.path ?? null,
      description: module.description,
      targets: [...module.orders].map(([target, order]) => {
        return { target, order, isEnabled: enabling.isEnabled(module.name, target) };
      }),
    }));
    if (this.#isJson) {
      output.json(rows);
      return;
    }
    const inWords = ({ target, order, isEnabled }: (typeof rows)[number]["targets"][number]): string => {
      return `${target} ${order}${isEnabled ? "" : " (disabled)"}`;
    };
    const cells = rows.map(({ module, kind, targets, path, description }) => {
      return [module, kind, targets.map(inWords).join(", "), path ?? "", description];
    });
    for (const line of tableLines(["MODULE", "KIND", "TARGETS", "PATH", "DESCRIPTION"], cells)) output.line(line);
  }

  async #enable({ name, module, target }: EnableCommand): Promise<void> {
    const { modules } = await this.#find();
    const known = modules.find((candidate) => candidate.name === module);
    if (known === undefined) throw usageError(`there is no module '${module}'; see agent config list`);
    if (!known.orders.has(target)) throw usageError(`the module '${module}' takes no part in ${target}`);
    const enabling = await Enabling.open(this.#environment.stateDirectory);
    await enabling.set(module, target, name === "config enable");
  }

  async #status(): Promise<void> {
    const { output } = this.#context;
    const { last, isConfigured, underway, instance } = await new Runs(this.#environment).state();
    if (this.#isJson) output.json({ instance, isConfigured, underway: underway?.target ?? null, last });
    else for (const line of reportLines({ last, isConfigured, underway })) output.line(line);
  }

  async #enabledModules(target: Target): Promise<ConfigModule[]> {
    const { modules, problems } = await this.#find();
    for (const { reason } of problems) this.#context.output.note(reason);
    const enabling = await Enabling.open(this.#environment.stateDirectory);
    return inOrder(modules, target).filter(({ name }) => enabling.isEnabled(name, target));
  }

  #find(): Promise<FoundModules> {
    const { stateDirectory } = this.#environment;
    const options = { builtin: builtinModules(), pythonDirectory: SHIPPED_PYTHON_DIRECTORY, stateDirectory };
    return findModules(this.#config.directories, options);
  }

  #printEnd(end: ModuleEnd): void {
    const { output } = this.#context;
    if (this.#isJson) return;
    for (const line of end.lines) output.note(`${end.name}: ${line}`);
    output.line(moduleLine(end));
  }
}

/** systemd's, for a machine without a DMI UUID. */
function machineId(): string | null {
  try {
    return readFileSync(MACHINE_ID_FILE, "utf8").trim() || null;
  } catch {
    return null;
  }
}
