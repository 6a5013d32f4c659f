/** The daemon's configuration: a JSON file, from unknown to a frozen object in one place, all problems reported at once. */
import { readFileSync } from "node:fs";
import * as z from "zod/mini";
import { describeIssues } from "../shared/protocol/message.ts";
import { DEFAULT_CACHE_LIMIT, MAX_CACHE_LIMIT } from "../shared/protocol/limits.ts";
import { type ChannelSpec, DEFAULT_PORT_NAME, parseChannelSpec } from "./channel/channel-spec.ts";
import { operations } from "./daemon/access.ts";
import { DEFAULT_CONFIG_FILE } from "./paths.ts";

/** ovmd's default period. */
export const DEFAULT_HEARTBEAT_SECONDS = 10;

const MODE = /^0?[0-7]{3}$/;

const absolutePath = z.string().check(z.startsWith("/", "must be an absolute path"));
const mode = z.pipe(
  z.string().check(z.regex(MODE, 'must be permission bits in octal, as "0640"')),
  z.transform((text) => Number.parseInt(text, 8)),
);
const userOrGroup = z.union([z.string(), z.int().check(z.nonnegative())]);

const channel = z.pipe(
  z.string(),
  z.transform((text, context): ChannelSpec => {
    const spec = parseChannelSpec(text);
    if (spec) return spec;
    context.issues.push({ code: "custom", message: "must be virtio:NAME, tty:PATH[@BAUD] or unix:PATH", input: text });
    return z.NEVER;
  }),
);

const configFile = z.strictObject({
  /** Which channel leads to the host. */
  channel: z._default(channel, { kind: "virtio", name: DEFAULT_PORT_NAME }),
  /** What the cache holds, in bytes. */
  limitBytes: z._default(z.int().check(z.minimum(1024), z.maximum(MAX_CACHE_LIMIT)), DEFAULT_CACHE_LIMIT),
  heartbeatSeconds: z._default(z.number().check(z.minimum(1), z.maximum(3600)), DEFAULT_HEARTBEAT_SECONDS),
  /** Who may read the files of the keys with a prefix; root alone unless said here. */
  keyFiles: z._default(
    z.array(
      z.strictObject({
        prefix: z.string(),
        mode: z._default(mode, 0o640),
        owner: z.optional(userOrGroup),
        group: z.optional(userOrGroup),
      }),
    ),
    [],
  ),
  /** Further sockets, each for a program that is given its own keys. */
  sockets: z._default(
    z.array(
      z.strictObject({
        path: absolutePath,
        mode: z._default(mode, 0o660),
        owner: z.optional(userOrGroup),
        group: z.optional(userOrGroup),
        prefixes: z.array(z.string().check(z.minLength(1))).check(z.minLength(1)),
        operations: z._default(z.array(z.enum(operations)), ["read"]),
        quotaBytes: z.optional(z.int().check(z.positive())),
      }),
    ),
    [],
  ),
});

export type Config = Readonly<z.infer<typeof configFile>>;

/** What the command line says in the file's place, as the file would say it. */
export type ConfigOverrides = Partial<Pick<z.input<typeof configFile>, "channel" | "limitBytes" | "heartbeatSeconds">>;

/** The file says something that cannot be meant. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Throws ConfigError that names every problem. A default file that is not there means defaults. */
export function readConfig(path: string | undefined, overrides: ConfigOverrides = {}): Config {
  const file = path ?? DEFAULT_CONFIG_FILE;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (path === undefined && (error as NodeJS.ErrnoException).code === "ENOENT") return parseConfig(overrides, file);
    throw new ConfigError(`${file}: ${(error as Error).message}`, { cause: error });
  }
  try {
    return parseConfig({ ...(JSON.parse(text) as object), ...overrides }, file);
  } catch (error) {
    if (error instanceof SyntaxError) throw new ConfigError(`${file}: not JSON: ${error.message}`, { cause: error });
    throw error;
  }
}

export function parseConfig(json: unknown, file: string): Config {
  const parsed = configFile.safeParse(json);
  if (parsed.success) return Object.freeze(parsed.data);
  const known = Object.keys(configFile.shape).join(", ");
  throw new ConfigError(`${file}: ${describeIssues(parsed.error)} (known: ${known})`);
}
