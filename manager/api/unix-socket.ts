/** Where a server listens on the file system: its rights are in force before its path is there. */
import { once } from "node:events";
import { lstatSync, type Stats, unlinkSync } from "node:fs";
import { chmod, chown, link, mkdir, mkdtemp, rm } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname, join } from "node:path";
import { CommandError, systemCode, usageError } from "../../shared/cli/failure.ts";
import { numbersOf } from "../../shared/users.ts";

export interface UnixSocketOptions {
  path: string;
  /** Permission bits: who may connect is who may write. */
  mode: number;
  /** Names or numbers. */
  owner?: string | number | undefined;
  group?: string | number | undefined;
}

/** Linux's sockaddr_un holds 108 bytes with the zero at the end (unix(7)). */
const MAX_SOCKET_PATH = 107;

/** Beside the socket, so that the file system is the same. */
const WORKSHOP_PREFIX = ".vmmessaged-";
const MADE_NAME = "s";

/** What chown(2) leaves as it is. */
const UNCHANGED = -1;

/** Somebody else may be replacing a stale socket at the same time; one of us wins soon. */
const MAX_ATTEMPTS = 3;

/**
 * The socket is made in a directory that nobody else can enter, gets its rights there, and only then a link at its path:
 * there is no moment at which it can be reached with other rights, nor one at which anything else at the path is
 * overwritten. A socket that nobody listens on is replaced; one that is answered, or something that is no socket, is an
 * error and stays. Rejects with CommandError.
 *
 * @returns what takes the path away again, if it is still this server's
 */
export async function listenAtPath(server: Server, options: UnixSocketOptions): Promise<() => void> {
  const { path, mode } = options;
  const { uid, gid } = ownersOf(options);
  const directory = dirname(path);
  checkLength(path);
  try {
    await mkdir(directory, { recursive: true, mode: 0o755 });
    const workshop = await mkdtemp(join(directory, WORKSHOP_PREFIX));
    try {
      const made = join(workshop, MADE_NAME);
      server.listen(made);
      await once(server, "listening");
      await chmod(made, mode);
      await chown(made, uid ?? UNCHANGED, gid ?? UNCHANGED);
      const ours = lstatSync(made);
      await publish(made, path);
      return () => {
        removeIfSame(path, ours);
      };
    } finally {
      await rm(workshop, { recursive: true, force: true });
    }
  } catch (error) {
    server.close();
    throw error instanceof CommandError ? error : failedAt(path, error);
  }
}

function ownersOf(options: UnixSocketOptions): ReturnType<typeof numbersOf> {
  try {
    return numbersOf(options);
  } catch (error) {
    throw usageError(`the socket ${options.path}: ${(error as Error).message}`);
  }
}

function checkLength(path: string): void {
  const longest = Math.max(
    Buffer.byteLength(path),
    Buffer.byteLength(join(dirname(path), `${WORKSHOP_PREFIX}XXXXXX`, MADE_NAME)),
  );
  if (longest > MAX_SOCKET_PATH) {
    throw usageError(`the socket ${path}: its path is too long for the system; choose a shorter directory`);
  }
}

/** A link never overwrites; what is there already has to go first. */
async function publish(made: string, path: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await link(made, path);
      return;
    } catch (error) {
      if (systemCode(error) !== "EEXIST" || attempt === MAX_ATTEMPTS) throw error;
    }
    await removeStale(path);
  }
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new CommandError("failed", `${path} is not a socket; move it away, or configure another path`);
  }
  if (await isAnswered(path)) throw inUse(path);
  // Without a turn of the event loop in between, lest it is another manager's new one that goes.
  if (isSameFile(lstatSync(path, { throwIfNoEntry: false }), found)) unlinkSync(path);
}

/** A number can be given to a new file as soon as the old one is gone; the time tells them apart. */
function isSameFile(one: Stats | undefined, other: Stats): boolean {
  return one?.dev === other.dev && one.ino === other.ino && one.mtimeMs === other.mtimeMs;
}

function inUse(path: string): CommandError {
  return new CommandError("failed", `another program listens on ${path}; does a manager run already?`);
}

/** A full backlog (EAGAIN) is somebody's, too. */
async function isAnswered(path: string): Promise<boolean> {
  const probe = connect(path);
  try {
    await once(probe, "connect");
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === "ECONNREFUSED" || code === "ENOENT") return false;
    if (code === "EAGAIN") return true;
    throw error;
  } finally {
    probe.destroy();
  }
}

function removeIfSame(path: string, ours: Stats): void {
  if (isSameFile(lstatSync(path, { throwIfNoEntry: false }), ours)) unlinkSync(path);
}

function failedAt(path: string, error: unknown): CommandError {
  return new CommandError("failed", `cannot listen on ${path}: ${(error as Error).message}`, {}, { cause: error });
}
