/** Which way a command goes: to a manager where there is one, else straight to the VM's channel. */
import { once } from "node:events";
import { statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { CommandError, Interruption, systemCode, usageError } from "../shared/cli/failure.ts";
import { DEFAULT_TIMEOUT_MS } from "../shared/client.ts";
import type { CommonOptions } from "./command.ts";
import type { Context } from "./context.ts";
import { givenCredentials } from "./door-arguments.ts";

export type ManagerAddress =
  { type: "socket"; path: string } | { type: "network"; host: string; port: number | undefined };

export type Door = { type: "manager"; address: ManagerAddress } | { type: "channel" };

/** A socket's path is where the manager's service puts it. */
const SYSTEM_SOCKET = "/run/vmmessage/manager.sock";

/** What was found where a manager's socket may be. */
type Search =
  | { type: "listening"; path: string }
  | { type: "refused"; why: string }
  /** `isNamed` when the user said that there is one. */
  | { type: "missing"; why: string; isNamed: boolean };

/** Notes on stderr why it is not the door that could have been expected. Throws CommandError: not-permitted. */
export async function doorOf(command: CommonOptions, context: Context): Promise<Door> {
  const { door, login } = command;
  const unused = givenCredentials(login);
  if (door.via === "network")
    return { type: "manager", address: { type: "network", host: door.host, port: door.port } };
  if (door.via === "channel") {
    if (unused !== undefined) context.output.note(`no manager is asked; ${unused} not used`);
    return { type: "channel" };
  }
  const search = await searchManager(door.socket, command, context);
  if (search.type === "listening") return { type: "manager", address: { type: "socket", path: search.path } };
  if (search.type === "refused" || search.isNamed)
    context.output.note(`${search.why}; going straight to the VM's channel`);
  if (unused !== undefined) context.output.note(`there is no manager on this host; ${unused} not used`);
  return { type: "channel" };
}

/** For what only a manager can do. Throws CommandError: usage when there is none, unreachable when it does not run. */
export async function managerAddress(command: CommonOptions, context: Context): Promise<ManagerAddress> {
  const { door } = command;
  if (door.via === "network") return { type: "network", host: door.host, port: door.port };
  if (door.via === "channel") throw usageError("this needs a manager, and none is to be asked");
  const search = await searchManager(door.socket, command, context);
  if (search.type === "listening") return { type: "socket", path: search.path };
  if (search.type === "refused") throw new CommandError("unreachable", `${search.why}; this needs a manager`);
  throw usageError(
    `this needs a manager (vmmessaged): ${search.why}; name its host with -h HOST, its socket with --manager`,
  );
}

/** The first socket that is there, whether somebody listens on it or not. */
async function searchManager(named: string | undefined, command: CommonOptions, context: Context): Promise<Search> {
  const timeLimit = AbortSignal.timeout(command.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const signal = AbortSignal.any([context.interrupt, timeLimit]);
  const paths = named === undefined ? managerSockets(context) : [named];
  for (const path of paths) {
    const state = await tryToConnect(path, signal);
    if (state === "listening") return { type: "listening", path };
    if (state === "refused") {
      return { type: "refused", why: `nobody listens on ${path}: the manager is not running` };
    }
  }
  const why = named === undefined ? `none listens on this host (${paths.join(", ")})` : `there is no socket ${named}`;
  return { type: "missing", why, isNamed: named !== undefined };
}

/** The directory of another user's programs is not believed: what listens there is not our manager. */
export function managerSockets({ environment, uid }: Pick<Context, "environment" | "uid">): string[] {
  const runtimeDirectory = environment["XDG_RUNTIME_DIR"] ?? "";
  if (!runtimeDirectory.startsWith("/") || ownerOf(runtimeDirectory) !== uid) return [SYSTEM_SOCKET];
  return [SYSTEM_SOCKET, join(runtimeDirectory, "vmmessage", "manager.sock")];
}

function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch {
    return undefined;
  }
}

async function tryToConnect(path: string, signal: AbortSignal): Promise<"listening" | "refused" | "missing"> {
  const socket = connect({ path });
  try {
    await once(socket, "connect", { signal });
    return "listening";
  } catch (error) {
    return whatItMeans(error, path, signal);
  } finally {
    socket.on("error", () => undefined).destroy();
  }
}

function whatItMeans(error: unknown, path: string, signal: AbortSignal): "listening" | "refused" | "missing" {
  if (signal.reason instanceof Interruption) throw signal.reason;
  switch (systemCode(error) ?? "") {
    case "ENOENT":
    case "ENOTDIR":
      return "missing";
    case "ECONNREFUSED":
      return "refused";
    case "EACCES":
    case "EPERM": {
      const remedy = "run vmmessage as root or as the socket's group, or pass it by with --direct";
      throw new CommandError("not-permitted", `not permitted to open the manager's socket ${path}; ${remedy}`, {
        path,
      });
    }
    case "EINVAL":
    case "ENAMETOOLONG":
      throw usageError(`${path} cannot be the path of a Unix socket: at most 107 bytes`);
    case "EAGAIN":
    case "ABORT_ERR":
      // So many wait to be served that no more are let in: somebody listens.
      return "listening";
    default:
      throw new CommandError("unreachable", `cannot connect to the manager's socket ${path}: ${String(error)}`, {
        path,
      });
  }
}
