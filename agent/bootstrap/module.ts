/**
 * A configuration module: something that configures a part of this machine from keys. Three kinds keep this contract:
 * executables (scripts/), declarative templates (templates/), and those that come with the agent (builtin/).
 */
import type { Target } from "../../shared/bootstrap.ts";
import type { Value } from "../../shared/protocol/value.ts";

/** A key that a module takes. */
export interface Parameter {
  key: string;
  /** Keys that are taken in its place, the first that is set: other systems' names of the same thing. */
  aliases: readonly string[];
  description: string;
  /** A run without it fails. */
  required: boolean;
  /** Not asked of a person. */
  hidden: boolean;
  /** A secret: not shown when typed, never reported, erased from the cache once used. */
  password: boolean;
  /** A secret that a unit loads each time it starts (LoadCredential=), which is not erased. */
  keep: boolean;
  /** What it is when neither the key nor an alias is set. */
  default?: string | undefined;
}

export interface GivenValue {
  value: Value;
  /** It was set as a secret, or a module's parameter says that it is one. */
  isSecret: boolean;
}

/** Values by their keys. */
export type Values = ReadonlyMap<string, GivenValue>;

export interface ModuleRun {
  target: Target;
  /** Those that the module may see: all that are no secrets, and the secrets among its parameters. */
  values: Values;
  /** Aborted when the module's time is up or the whole run is to end; whatever it started has to end soon. */
  signal: AbortSignal;
}

export interface ModuleResult {
  /** What the module gave back: handed to the modules after it, and reported. */
  results: Readonly<Record<string, string>>;
  /** It found nothing to do, and why, in words. */
  skipped?: string | undefined;
}

/** How a module failed: the message is one line, and `lines` what it printed last. Either may hold a secret: they are masked before they go anywhere. */
export class ModuleError extends Error {
  override readonly name = "ModuleError";
  readonly lines: readonly string[];

  constructor(message: string, lines: readonly string[] = [], options?: ErrorOptions) {
    super(message, options);
    this.lines = lines;
  }
}

export interface ConfigModule {
  /** 1 to 64 of A-Z a-z 0-9 . _ - (`moduleName`); unique, the first directory that has it wins. */
  readonly name: string;
  readonly description: string;
  readonly kind: "builtin" | "script" | "template";
  /** Undefined for one that comes with the agent. */
  readonly path: string | undefined;
  /** The targets that it takes part in, and its place among the modules of each, the lowest first. */
  readonly orders: ReadonlyMap<Target, number>;
  readonly timeoutMs: number;

  /** What it takes for a target. Throws ModuleError when that cannot be found out. */
  parameters(target: Target, signal: AbortSignal): Promise<readonly Parameter[]>;
  /** Settles soon after the signal is aborted. Throws ModuleError. */
  run(run: ModuleRun): Promise<ModuleResult>;
  /** What a run would change, and changes nothing: lines for a person, unified diffs where it is files. Throws ModuleError. */
  preview(run: ModuleRun): Promise<string[]>;
}

/** Not measured: package managers and databases take their time. */
export const DEFAULT_MODULE_TIMEOUT_MS = 300_000;

/** Nothing that a boot waits for takes longer. Not measured; a timer of Node's ends at 24 days. */
export const MAX_MODULE_TIMEOUT_MS = 24 * 3_600_000;

/** A module's place when its file says none: in the middle. */
export const DEFAULT_ORDER = 50;

/** The value of a parameter by its key or the first alias that is set; undefined where none is, whatever its default. */
export function valueOf({ key, aliases }: Pick<Parameter, "key" | "aliases">, values: Values): GivenValue | undefined {
  const name = [key, ...aliases].find((candidate) => values.has(candidate));
  return name === undefined ? undefined : values.get(name);
}
