/** Which module takes part in which target, as a person said: all do, but those in STATE/bootstrap/disabled.json. */
import { join } from "node:path";
import * as z from "zod/mini";
import { moduleName, type Target, targets } from "../../shared/bootstrap.ts";
import { usageError } from "../../shared/cli/failure.ts";
import { ConfigError } from "../../shared/config-file.ts";
import { describeIssues } from "../../shared/protocol/message.ts";
import { DurableFile } from "../daemon/durable-file.ts";
import { DurableState } from "../daemon/durable-state.ts";

const disabledFile = z.record(moduleName, z.array(z.enum(targets)));

/** The disabled targets of modules, by the modules' names. */
type Disabled = ReadonlyMap<string, readonly Target[]>;

export class Enabling {
  readonly #state: DurableState<Disabled>;

  private constructor(state: DurableState<Disabled>) {
    this.#state = state;
  }

  /** Throws ConfigError when the file cannot be understood: what it disables must not run. Throws the system's error when it cannot be read. */
  static async open(stateDirectory: string): Promise<Enabling> {
    const file = new DurableFile(join(stateDirectory, "bootstrap", "disabled.json"));
    const disabled = parseDisabled(await file.peek(), file.path);
    const save = async (state: Disabled): Promise<void> => {
      await file.makeDirectory();
      await file.replace(format(state));
    };
    return new Enabling(new DurableState(disabled, save));
  }

  isEnabled(module: string, target: Target): boolean {
    return this.#state.current.get(module)?.includes(target) !== true;
  }

  /** Settles when it will survive a power cut; rejects, and nothing is changed, when the disk is full or broken. */
  async set(module: string, target: Target, isEnabled: boolean): Promise<void> {
    const parsed = moduleName.safeParse(module);
    if (!parsed.success) throw usageError(describeIssues(parsed.error));
    await this.#state.change((disabled) => ({
      state: changed(disabled, module, target, isEnabled),
      result: undefined,
    }));
  }
}

function changed(disabled: Disabled, module: string, target: Target, isEnabled: boolean): Disabled {
  const others = (disabled.get(module) ?? []).filter((other) => other !== target);
  const left = isEnabled ? others : [...others, target];
  const result = new Map(disabled);
  if (left.length === 0) result.delete(module);
  else result.set(module, left);
  return result;
}

function parseDisabled(text: string | undefined, path: string): Disabled {
  if (text === undefined) return new Map();
  const parsed = disabledFile.safeParse(jsonIn(text, path));
  if (parsed.success) return new Map(Object.entries(parsed.data));
  throw new ConfigError(`${path}: ${describeIssues(parsed.error)}`);
}

function jsonIn(text: string, path: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ConfigError(`${path}: not JSON: ${(error as Error).message}`, { cause: error });
  }
}

function format(disabled: Disabled): string {
  return `${JSON.stringify(Object.fromEntries(disabled), undefined, 2)}\n`;
}
