/** Which way a command line asks to go, out of its options and the environment. */
import { usageError } from "../shared/cli/failure.ts";
import type { DoorChoice, LoginOptions } from "./command.ts";
import type { Options } from "./words.ts";

/** What the meaning of a command line depends on beside its words. */
export interface Surroundings {
  hostname: string;
  /** VMMESSAGE_HOST, VMMESSAGE_MANAGER and VMMESSAGE_SOCKET_DIR; an empty one counts as none. */
  environment: Readonly<Record<string, string | undefined>>;
}

const LOCAL_HOSTS = ["localhost", "127.0.0.1", "::1"];

/** `[ADDRESS]:PORT`, `NAME:PORT`, or what has no port: a name, an IPv4 address, a bare IPv6 address. */
const HOST_AND_PORT = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/;
const BARE_IPV6 = /^[0-9a-fA-F.]*:[0-9a-fA-F:.]*$/;

/** Throws CommandError (usage) for a host that is none, and for options that send the command two ways. */
export function doorChoice(options: Options, surroundings: Surroundings): DoorChoice {
  const channel = channelOption(options);
  if (channel !== undefined) {
    assertNoOther(options, channel, surroundings.hostname);
    return { via: "channel" };
  }
  if (options.host !== undefined && options.manager !== undefined) {
    const host = managerHost(options.host, surroundings.hostname);
    if (host !== undefined) throw usageError(`--manager names a socket of this host, and -h ${options.host} another`);
  }
  if (options.manager !== undefined) return { via: "local", socket: options.manager };
  const { environment, hostname } = surroundings;
  const host = managerHost(options.host ?? given(environment["VMMESSAGE_HOST"]), hostname);
  return host ?? { via: "local", socket: given(environment["VMMESSAGE_MANAGER"]) };
}

export function loginOptions(options: Options): LoginOptions {
  const { user, password, tokenFile, ca, fingerprint } = options;
  if (tokenFile !== undefined && (user !== undefined || password !== undefined)) {
    throw usageError("--token-file stands in place of -u and -p; give one of them");
  }
  return { user, password, tokenFile, caFile: ca, fingerprint };
}

/** Whatever was given on the command line to say who asks. */
export function givenCredentials({ user, password, tokenFile }: LoginOptions): string | undefined {
  if (tokenFile !== undefined) return "--token-file was";
  return user !== undefined || password !== undefined ? "-u and -p were" : undefined;
}

/** Undefined for the socket of this host. With a port it is that port, on this host too. Throws CommandError (usage). */
export function managerHost(text: string | undefined, hostname: string): (DoorChoice & { via: "network" }) | undefined {
  if (text === undefined) return undefined;
  const { host, port } = hostAndPort(text);
  if (port === undefined && [...LOCAL_HOSTS, hostname.toLowerCase()].includes(host.toLowerCase())) return undefined;
  return { via: "network", host, port };
}

/** Throws CommandError (usage). */
export function hostAndPort(text: string): { host: string; port: number | undefined } {
  if (BARE_IPV6.test(text) && text.split(":").length > 2) return { host: text, port: undefined };
  const [, address, name, digits] = HOST_AND_PORT.exec(text) ?? [];
  const host = address ?? name;
  const port = digits === undefined ? undefined : Number(digits);
  if (host === undefined || /[\s/@]/.test(host) || port === 0 || (port ?? 0) > 65_535) {
    throw usageError(`-h ${text}: it is not HOST or HOST:PORT`);
  }
  return { host, port };
}

/** The option that goes straight to the channel. */
function channelOption({ socket, socketDir, connect, direct }: Options): string | undefined {
  if (socket !== undefined) return "--socket";
  if (socketDir !== undefined) return "--socket-dir";
  if (connect !== undefined) return "--connect";
  return direct ? "--direct" : undefined;
}

function assertNoOther({ host, manager, expires, log }: Options, channel: string, hostname: string): void {
  if (manager !== undefined) throw usageError(`${channel} asks no manager, and --manager names one; give one of them`);
  if (expires !== undefined || log) {
    throw usageError(`${expires === undefined ? "--log" : "--expires"} needs a manager, and ${channel} asks none`);
  }
  if (managerHost(host, hostname) !== undefined) {
    throw usageError(`${channel} asks no manager, and -h ${host ?? ""} names one; give one of them`);
  }
}

function given(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
