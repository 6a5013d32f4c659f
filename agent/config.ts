/** The daemon's configuration: what the file may say, and what it means when it does not. */
import * as z from "zod/mini";
import { absolutePath, checkConfig, mode, readConfigFile, userOrGroup } from "../shared/config-file.ts";
import { DEFAULT_CACHE_LIMIT, MAX_CACHE_LIMIT } from "../shared/protocol/limits.ts";
import { type ChannelSpec, DEFAULT_PORT_NAME, parseChannelSpec } from "./channel/channel-spec.ts";
import { operations } from "./daemon/access.ts";
import { DEFAULT_CONFIG_FILE } from "./paths.ts";

/** ovmd's default period. */
export const DEFAULT_HEARTBEAT_SECONDS = 10;

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

/** Throws ConfigError that names every problem. A default file that is not there means defaults. */
export function readConfig(path: string | undefined, overrides: ConfigOverrides = {}): Config {
  const file = path ?? DEFAULT_CONFIG_FILE;
  const json = readConfigFile(file, path === undefined);
  return parseConfig({ ...(json as object | undefined), ...overrides }, file);
}

export function parseConfig(json: unknown, file: string): Config {
  return checkConfig(configFile, json, file);
}
