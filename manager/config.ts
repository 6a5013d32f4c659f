/** The manager's configuration: what the file may say, and what it means when it does not. docs/manager.md tells it to users. */
import { isIP } from "node:net";
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
import { bodyFormats, eventFilter } from "../shared/api/event-schemas.ts";
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

const name = z.string().check(z.regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, "must be 1 to 64 of a-z 0-9 _ -"));

/** A program and its arguments, started without a shell. */
const program = z.tuple([absolutePath], z.string());

const cidr = z.string().check(z.refine(isCidr, "must be an address range such as 10.0.0.0/8 or fd00::/8"));

/** Of every sink. */
const sinkParts = {
  name,
  filter: z._default(eventFilter, {}),
  /** Whether events of keys carry the values. */
  values: z._default(z.boolean(), false),
  format: z._default(z.enum(bodyFormats), "cloudevents"),
};

/** What Masakari can be told of. */
const notifiableTypes = [
  "VM.HUNG",
  "VM.AGENT-MISSING",
  "VM.APPLICATION-FAILED",
  "VM.CRASHED",
  "VM.PANIC",
  "VM.WATCHDOG",
  "VM.IO-ERROR",
] as const;

const sink = z.discriminatedUnion("type", [
  z.strictObject({
    ...sinkParts,
    type: z.literal("amqp"),
    /** `amqps://user@host/vhost` */
    url: z.string().check(z.regex(/^amqps?:\/\//, "must begin with amqp:// or amqps://")),
    passwordFile: z.optional(absolutePath),
    /** PEM, of the broker's authority. */
    ca: z.optional(absolutePath),
    exchange: z._default(z.string().check(z.minLength(1), z.maxLength(127)), "cloudstack-events"),
    format: z._default(z.enum(bodyFormats), "cloudstack"),
  }),
  z.strictObject({ ...sinkParts, type: z.literal("mail"), to: z.array(z.email()).check(z.minLength(1)) }),
  z.strictObject({
    ...sinkParts,
    type: z.literal("webhook"),
    url: z.url({ protocol: /^https?$/ }),
    /** Each holds one secret (`whsec_...`); both sign while one replaces the other. */
    secretFiles: z._default(z.array(absolutePath).check(z.maxLength(2)), []),
    /** PEM, of the receiver's authority. */
    ca: z.optional(absolutePath),
  }),
  z.strictObject({ ...sinkParts, type: z.literal("command"), command: name }),
  z.strictObject({
    name,
    type: z.literal("masakari"),
    /** Of VMs: `types` is what `events` below says. */
    filter: z._default(z.pick(eventFilter, { vms: true }), {}),
    /** With the version; left out, it is as Keystone's catalogue has it. */
    url: z.optional(z.url({ protocol: /^https?$/ })),
    /** Keystone's Identity API v3; `none` for a laboratory. */
    auth: z.discriminatedUnion("method", [
      z.strictObject({ method: z.literal("none") }),
      z.strictObject({
        method: z.literal("password"),
        url: z.url({ protocol: /^https?$/ }),
        user: z.string().check(z.minLength(1)),
        userDomain: z._default(z.string(), "Default"),
        passwordFile: absolutePath,
        project: z.string().check(z.minLength(1)),
        projectDomain: z._default(z.string(), "Default"),
      }),
      z.strictObject({
        method: z.literal("application-credential"),
        url: z.url({ protocol: /^https?$/ }),
        id: z.string().check(z.minLength(1)),
        secretFile: absolutePath,
      }),
    ]),
    region: z.optional(z.string()),
    interface: z._default(z.enum(["public", "internal", "admin"]), "public"),
    /** PEM, of the authority of Masakari and Keystone. */
    ca: z.optional(absolutePath),
    /** What Masakari calls this host; its own name when left out. */
    hostname: z.optional(z.string().check(z.minLength(1))),
    /** Which notification an event becomes. */
    events: z._default(
      z.partialRecord(z.enum(notifiableTypes), z.enum(["QEMU_GUEST_AGENT_ERROR", "LIFECYCLE", "IO_ERROR"])),
      {
        "VM.HUNG": "QEMU_GUEST_AGENT_ERROR",
        "VM.APPLICATION-FAILED": "QEMU_GUEST_AGENT_ERROR",
        "VM.CRASHED": "LIFECYCLE",
        "VM.IO-ERROR": "IO_ERROR",
      },
    ),
    /** Further attempts, and the time between two. */
    retryMax: z._default(z.int().check(z.minimum(0), z.maximum(1_000)), 12),
    retryInterval: z._default(durationMs, 10_000),
  }),
]);

const events = z.strictObject({
  /** For how long, and how many. */
  keep: z._default(durationMs, 30 * 86_400_000),
  keepCount: z._default(z.int().check(z.positive()), 1_000_000),
  /** Where events go whatever anybody subscribes to. */
  sinks: z._default(z.array(sink), []),
  /** The server that takes our mail. */
  mail: z.optional(
    z.strictObject({
      host: z.string().check(z.minLength(1)),
      port: z._default(port, 25),
      /** `required`: nothing is sent without STARTTLS. `implicit`: TLS from the first byte, as on port 465. */
      tls: z._default(z.enum(["opportunistic", "required", "implicit"]), "opportunistic"),
      user: z.optional(z.string()),
      passwordFile: z.optional(absolutePath),
      /** PEM, of the server's authority. */
      ca: z.optional(absolutePath),
      from: z.email(),
    }),
  ),
  /** Programs that `command:NAME` means; they get the event on their standard input. */
  commands: z._default(z.record(name, z.strictObject({ run: program, timeout: z._default(durationMs, 30_000) })), {}),
  /** Programs that `sms:NUMBER?gateway=NAME` means; they get the number as their last argument. */
  gateways: z._default(z.record(name, z.strictObject({ run: program, timeout: z._default(durationMs, 30_000) })), {}),
  /** Where what users name may lead: not to addresses of this machine or of private networks, unless they are here. */
  targets: z._default(
    z.strictObject({
      allow: z._default(z.array(cidr), []),
      /** Webhooks without TLS. */
      http: z._default(z.boolean(), false),
    }),
    { allow: [], http: false },
  ),
});

const disk = z.strictObject({
  /** `vda` */
  name: z.string().check(z.minLength(1)),
  path: absolutePath,
  /** As QEMU is started with it: it is not looked for in the disk itself, where the guest writes. */
  format: z.string().check(z.regex(/^[a-z][a-z0-9-]{0,31}$/, "must be a format of QEMU's, as qcow2 or raw")),
});

const images = z.strictObject({
  /** Where they may be put. */
  directories: z._default(z.array(absolutePath), []),
  /** The disks of VMs that libvirt does not know, by the VM's UUID or name. */
  disks: z._default(z.record(z.string(), z.array(disk).check(z.minLength(1))), {}),
});

/** A guest that hangs for an hour has its channel opened anew, and then nobody knows whether it hangs. */
const MAX_PATIENCE_MS = 1_800_000;

/** From a second to a day: what the monitor does again and again. */
const period = durationMs.check(z.minimum(1_000), z.maximum(86_400_000));

const recoveryPolicy = z.strictObject({
  name,
  /** Which VMs it is for. */
  vms: patterns,
  /** What it recovers from. */
  on: z._default(
    z.array(z.enum(["VM.HUNG", "VM.AGENT-MISSING", "VM.APPLICATION-FAILED", "VM.CRASHED"])).check(z.minLength(1)),
    ["VM.HUNG"],
  ),
  /** One of `events.commands`. */
  command: name,
  /** It is run for one VM so often within the time; when that did not help, no more until the VM was healthy for so long. */
  atMost: z._default(z.int().check(z.minimum(1), z.maximum(100)), 3),
  within: z._default(durationMs, 3_600_000),
  /** For all VMs together within the time: when everything fails at once, the VMs are not what is wrong. */
  atMostTogether: z._default(z.int().check(z.minimum(1)), 10),
});

const monitorDefaults = {
  vms: ["*"],
  interval: 10_000,
  timeout: 2_000,
  threshold: 3,
  bootTime: 300_000,
  expectAgent: [],
  guestAgent: true,
  statsInterval: 60_000,
  recovery: [],
};

const monitor = z.strictObject({
  /** Which VMs are watched; none with an empty list. */
  vms: z._default(patterns, monitorDefaults.vms),
  /** Between two pings of a guest, for an answer, and how many may be missed in a row: as Masakari's monitor has them. */
  interval: z._default(period, monitorDefaults.interval),
  timeout: z._default(durationMs, monitorDefaults.timeout),
  threshold: z._default(z.int().check(z.minimum(1), z.maximum(100)), monitorDefaults.threshold),
  /** A guest that should answer has so long to start. */
  bootTime: z._default(period, monitorDefaults.bootTime),
  /** VMs in which our agent is expected: one that never answers is an alarm. */
  expectAgent: z._default(patterns, monitorDefaults.expectAgent),
  /** Whether QEMU's guest agent is asked too. */
  guestAgent: z._default(z.boolean(), monitorDefaults.guestAgent),
  /** Between two looks at a guest's load, memory and disks. */
  statsInterval: z._default(period, monitorDefaults.statsInterval),
  /** What is done on this host about guests that failed. */
  recovery: z._default(z.array(recoveryPolicy), monitorDefaults.recovery),
});

const peersDefaults = { role: "admin", vms: ["*"], keys: [""] } as const;

const peers = z.strictObject({
  /** The broker where managers meet: `amqps://user@host/vhost` */
  url: z.string().check(z.regex(/^amqps?:\/\/[^?#]*$/, "must be amqp(s)://USER@HOST/VHOST and no more")),
  passwordFile: z.optional(absolutePath),
  /** PEM, of the broker's authority. */
  ca: z.optional(absolutePath),
  /** The key that all managers have, and nobody else: 64 hexadecimal digits in a file of root's own. */
  keyFile: absolutePath,
  /** Apart from the events': a direct exchange. */
  exchange: z._default(z.string().check(z.minLength(1), z.maxLength(127)), "vmmessage"),
  /** What may be done here at most by who asks through another manager. */
  rights: z._default(
    z.strictObject({
      role: z._default(z.enum(roles), peersDefaults.role),
      vms: z._default(patterns, [...peersDefaults.vms]),
      keys: z._default(prefixes, [...peersDefaults.keys]),
    }),
    { role: peersDefaults.role, vms: [...peersDefaults.vms], keys: [...peersDefaults.keys] },
  ),
});

/** With nothing configured, events are kept and can be read. */
const eventDefaults = {
  keep: 30 * 86_400_000,
  keepCount: 1_000_000,
  sinks: [],
  commands: {},
  gateways: {},
  targets: { allow: [], http: false },
};

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
  events: z._default(events, eventDefaults),
  /** How guests are watched, and what is done about those that fail. */
  monitor: z._default(monitor, monitorDefaults),
  /** Where `vmmessage save` may put images. */
  images: z._default(images, { directories: [], disks: {} }),
  /** Managers on other hosts, with which this one is one. */
  peers: z.optional(peers),
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
export type EventsConfig = Config["events"];
export type SinkConfig = EventsConfig["sinks"][number];
export type MailConfig = NonNullable<EventsConfig["mail"]>;
export type PeersConfig = NonNullable<Config["peers"]>;
export type MonitorConfig = Config["monitor"];
export type RecoveryPolicy = MonitorConfig["recovery"][number];
export type ProgramConfig = EventsConfig["commands"][string];

/** Throws ConfigError that names every problem. A default file that is not there means defaults. */
export function readConfig(file: string, mayBeAbsent: boolean): Config {
  return parseConfig(readConfigFile(file, mayBeAbsent) ?? {}, file);
}

export function parseConfig(json: unknown, file: string): Config {
  const config = checkConfig(configFile, json, file);
  const paths = config.sockets.map(({ path }) => path);
  assertOnce(paths, `${file}: sockets`);
  assertOnce(
    config.events.sinks.map((sink) => sink.name),
    `${file}: events.sinks`,
  );
  for (const sink of config.events.sinks) assertHasParts(sink, config.events, file);
  assertMonitor(config, file);
  return config;
}

function assertOnce(names: readonly string[], where: string): void {
  const twice = names.find((one, index) => names.indexOf(one) !== index);
  if (twice !== undefined) throw new ConfigError(`${where}: ${twice} stands there twice`);
}

function assertHasParts(sink: SinkConfig, { mail, commands, targets }: EventsConfig, file: string): void {
  const where = `${file}: events.sinks: ${sink.name}`;
  if (sink.type === "mail" && mail === undefined) {
    throw new ConfigError(`${where}: mail needs a server; name it in events.mail`);
  }
  if (sink.type === "command" && !Object.hasOwn(commands, sink.command)) {
    throw new ConfigError(`${where}: events.commands has no '${sink.command}'`);
  }
  if (sink.type === "masakari" && sink.auth.method === "none" && sink.url === undefined) {
    throw new ConfigError(`${where}: without Keystone's catalogue, Masakari's url is needed`);
  }
  if (sink.type === "webhook" && sink.url.startsWith("http:") && !targets.http) {
    throw new ConfigError(`${where}: a webhook without TLS needs events.targets.http`);
  }
}

function assertMonitor({ monitor, events }: Config, file: string): void {
  const { interval, timeout, threshold, recovery } = monitor;
  if (timeout >= interval) throw new ConfigError(`${file}: monitor: timeout has to be shorter than interval`);
  if (interval * threshold > MAX_PATIENCE_MS) {
    throw new ConfigError(`${file}: monitor: interval times threshold may be 30m at most`);
  }
  assertOnce(
    recovery.map((policy) => policy.name),
    `${file}: monitor.recovery`,
  );
  for (const policy of recovery) {
    if (Object.hasOwn(events.commands, policy.command)) continue;
    throw new ConfigError(`${file}: monitor.recovery: ${policy.name}: events.commands has no '${policy.command}'`);
  }
}

function isCidr(text: string): boolean {
  const [address = "", bits = ""] = text.split("/");
  const longest = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= longest;
}
