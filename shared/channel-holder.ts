/**
 * Who holds a VM's channel. QEMU's socket serves one client at a time; whoever connects after that one waits in the
 * listener's backlog, unserved, and cannot tell that from a guest that is silent. The kernel's table of Unix sockets
 * can: a connection that was accepted has state 03 and an inode, one that waits state 02 and the inode 0.
 */
import { execFile } from "node:child_process";
import { readFile, realpath } from "node:fs/promises";
import { basename } from "node:path";
import { promisify } from "node:util";

/** The client that is served; its process is known where `ss` is installed and may see it. */
export interface Holder {
  pid?: number;
  command?: string;
}

interface UnixSocket {
  state: string;
  inode: string;
  path: string;
}

const CONNECTED = "03";
const WAITING = "02";

/** `ss` answers at once; this is for the machine that does not. */
const SS_TIMEOUT_MS = 2_000;
/** Enough of a command line to know the program by. */
const MAX_SHOWN_COMMAND = 80;
const MAX_SS_BYTES = 16 * 1024 * 1024;

/** The other client that is served on this socket while we wait, or undefined when nobody else is. */
export async function findHolder(socketPath: string): Promise<Holder | undefined> {
  const sockets = await socketsAt(socketPath);
  const served = sockets.find(({ state, inode }) => state === CONNECTED && inode !== "0");
  const isAnyoneWaiting = sockets.some(({ state }) => state === WAITING);
  if (served === undefined || !isAnyoneWaiting) return undefined;
  const holder = clientOf(served.inode, await listSockets());
  // Without `ss` we may be the one served, while the one who waits came later: rare, and then still true of the waiter.
  if (holder.pid === process.pid) return undefined;
  return { ...holder, ...(holder.pid !== undefined && (await commandLine(holder.pid))) };
}

/** What it was started with says more than its thread's name, which for every Node is `MainThread`. */
async function commandLine(pid: number): Promise<Holder> {
  const words = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const command = words.replaceAll("\0", " ").trim().slice(0, MAX_SHOWN_COMMAND);
  return command === "" ? {} : { command };
}

async function socketsAt(socketPath: string): Promise<UnixSocket[]> {
  const table = await readFile("/proc/net/unix", "utf8").catch(() => "");
  const named = readSocketTable(table).filter(({ path }) => basename(path) === basename(socketPath));
  const wanted = await resolved(socketPath);
  const found: UnixSocket[] = [];
  // The listener may have bound the path by another name: /var/run is a link to /run.
  for (const socket of named) if ((await resolved(socket.path)) === wanted) found.push(socket);
  return found;
}

function resolved(path: string): Promise<string> {
  return realpath(path).catch(() => path);
}

/** The named sockets in /proc/net/unix: `Num RefCount Protocol Flags Type St Inode Path`. */
export function readSocketTable(table: string): UnixSocket[] {
  const rows = table.matchAll(/^\S+: \S+ \S+ \S+ \S+ (\d+) +(\d+) (.+)$/gm);
  return [...rows].map(([, state = "", inode = "", path = ""]) => ({ state, inode, path }));
}

/** Finds who is at the other end of a connection in what `ss -xpH` prints, where each row ends `OWN * PEER users:(...)`. */
export function clientOf(inode: string, ssOutput: string): Holder {
  const row = new RegExp(String.raw`\s\d+\s+\S+\s+${inode}\s+users:\(\("([^"]*)",pid=(\d+)`).exec(ssOutput);
  const [, command, pid] = row ?? [];
  return command === undefined ? {} : { pid: Number(pid), command };
}

async function listSockets(): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)("ss", ["-xpH"], { timeout: SS_TIMEOUT_MS, maxBuffer: MAX_SS_BYTES });
    return stdout;
  } catch {
    return "";
  }
}

/** For messages: `qemu-storage (pid 4711)`. */
export function holderInWords({ pid, command }: Holder): string {
  return pid === undefined || command === undefined ? "another client" : `${command} (pid ${pid})`;
}
