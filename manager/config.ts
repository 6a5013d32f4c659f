/** The manager's configuration: what the file may say, and what it means when it does not. docs/manager.md tells it to users. */
import * as z from "zod/mini";
import {
  absolutePath,
  checkConfig,
  ConfigError,
  durationMs,
  mode,
  readConfigFile,
  userOrGroup,
} from "../shared/config-file.ts";
import { DEFAULT_API_PORT } from "../shared/api/endpoints.ts";
import { roles } from "../shared/api/schemas.ts";

/** Where Oracle VM Manager's own CLI listened. */
const DEFAULT_CONSOLE_PORT = 10_000;

const port = z.int().check(z.minimum(0), z.maximum(65_535));
const patterns = z.array(z.string().check(z.minLength(1)));
const prefixes = z.array(z.string());

/** So much at once, so much a second after that. */
const allowance = (perSecond: number, burst: number) =>
  z._default(
    z.strictObject({
      perSecond: z._default(z.number().check(z.positive()), perSecond),
      burst: z._default(z.number().check(z.positive()), burst),
    }),
    { perSecond, burst },
  );

const socket = z.strictObject({
  path: absolutePath,
  mode: z._default(mode, 0o600),
  owner: z.optional(userOrGroup),
  group: z.optional(userOrGroup),
  /** What whoever may open it may do. */
  role: z._default(z.enum(roles), "read"),
  vms: z._default(patterns, ["*"]),
  keys: z._default(prefixes, [""]),
});

const configFile = z.strictObject({
  /** Where VMs are looked for. Without it: libvirt. */
  inventory: z.optional(
    z.strictObject({
      /** libvirt's connection URIs. */
      libvirt: z._default(z.array(z.string().check(z.minLength(1))), []),
      /** Directories of QMP sockets that are the manager's alone. */
      qmp: z._default(z.array(absolutePath), []),
      /** Files that list VMs and the sockets of their channels. */
      files: z._default(z.array(absolutePath), []),
    }),
  ),
  /** Unix sockets for programs on this host, beside root's own. */
  sockets: z._default(z.array(socket), []),
  /** Network addresses, each with TLS. */
  listen: z._default(
    z.array(
      z.strictObject({
        address: z.string().check(z.minLength(1)),
        port: z._default(port, DEFAULT_API_PORT),
        /** PEM: the server's certificate, then those that lead to its authority. */
        certificate: absolutePath,
        key: absolutePath,
      }),
    ),
    [],
  ),
  /** The `OVM>` shell over SSH. */
  console: z.optional(
    z.strictObject({
      address: z._default(z.string().check(z.minLength(1)), "127.0.0.1"),
      port: z._default(port, DEFAULT_CONSOLE_PORT),
    }),
  ),
  messages: z._default(
    z.strictObject({
      /** A message that nobody took by then is given up, unless its sender said otherwise. */
      expireAfter: z._default(durationMs, 30 * 86_400_000),
      /** What may wait for one VM. */
      maxPending: z._default(z.int().check(z.positive()), 1_000),
      maxPendingBytes: z._default(z.int().check(z.positive()), 4 * 1024 * 1024),
    }),
    { expireAfter: 30 * 86_400_000, maxPending: 1_000, maxPendingBytes: 4 * 1024 * 1024 },
  ),
  /** What one guest may send, so that it takes nothing from the others. */
  quotas: z._default(
    z.strictObject({
      bytes: allowance(512 * 1024, 2 * 1024 * 1024),
      /** Events, acknowledgements and reports: each is a write to disk. */
      messages: allowance(50, 500),
    }),
    {
      bytes: { perSecond: 512 * 1024, burst: 2 * 1024 * 1024 },
      messages: { perSecond: 50, burst: 500 },
    },
  ),
});

export type Config = Readonly<z.infer<typeof configFile>>;
export type SocketConfig = Config["sockets"][number];
export type ListenConfig = Config["listen"][number];
export type ConsoleConfig = NonNullable<Config["console"]>;

/** Throws ConfigError that names every problem. A default file that is not there means defaults. */
export function readConfig(file: string, mayBeAbsent: boolean): Config {
  return parseConfig(readConfigFile(file, mayBeAbsent) ?? {}, file);
}

export function parseConfig(json: unknown, file: string): Config {
  const config = checkConfig(configFile, json, file);
  const paths = config.sockets.map(({ path }) => path);
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice !== undefined) throw new ConfigError(`${file}: sockets: ${twice} stands there twice`);
  return config;
}
