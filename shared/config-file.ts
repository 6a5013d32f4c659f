/** Configuration files of the daemons: JSON, from unknown to a frozen object in one place, all problems reported at once. */
import { readFileSync } from "node:fs";
import * as z from "zod/mini";
import { MAX_TIMEOUT_MS, parseDuration } from "./cli/duration.ts";
import { describeIssues } from "./protocol/message.ts";

const MODE = /^0?[0-7]{3}$/;

export const absolutePath = z.string().check(z.startsWith("/", "must be an absolute path"));

/** Permission bits, written in octal as chmod(1) takes them. */
export const mode = z.pipe(
  z.string().check(z.regex(MODE, 'must be permission bits in octal, as "0640"')),
  z.transform((text) => Number.parseInt(text, 8)),
);

export const userOrGroup = z.union([z.string(), z.int().check(z.nonnegative())]);

/** Milliseconds, written as on the command line: `"90"`, `"10m"`, `"7d"`. */
export const durationMs = z.pipe(
  z.string(),
  z.transform((text, context) => {
    const ms = parseDuration(text);
    if (ms !== undefined) return ms;
    context.issues.push({ code: "custom", message: 'must be a duration like "90", "10m", "2h" or "7d"', input: text });
    return z.NEVER;
  }),
);

/** A duration that a timer can wait for. */
export const timeoutMs = durationMs.check(z.maximum(MAX_TIMEOUT_MS, "is longer than 24 days"));

/** The file says something that cannot be meant. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** The JSON of a file; undefined when it is not there and may be absent. Throws ConfigError. */
export function readConfigFile(file: string, mayBeAbsent: boolean): unknown {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (mayBeAbsent && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ConfigError(`${file}: ${(error as Error).message}`, { cause: error });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ConfigError(`${file}: not JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** Throws ConfigError that names every problem and the members that are known. */
export function checkConfig<T extends z.ZodMiniObject>(schema: T, json: unknown, file: string): Readonly<z.infer<T>> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return Object.freeze(parsed.data);
  const known = Object.keys(schema.shape).join(", ");
  throw new ConfigError(`${file}: ${describeIssues(parsed.error)} (known: ${known})`);
}
