/**
 * Who could change what a path leads to. What runs as root must come from root: the file, each directory on the way to it,
 * and each symbolic link with the directories on the way to what it names.
 *
 * A directory in which everybody may create files, but not touch others' (the sticky bit, as of /tmp), is accepted above a
 * directory: nobody but its owner can move that away. It is not accepted above a file or a link, since a file there may be a
 * hard link that anybody made to a file of root's elsewhere. sshd accepts none at all; it does not start what is there for
 * somebody to try.
 */
import type { Stats } from "node:fs";
import { lstat, readFile, readlink } from "node:fs/promises";
import { dirname, join } from "node:path";

const ROOT = 0;

const WRITABLE_BY_GROUP = 0o020;
const WRITABLE_BY_OTHERS = 0o002;
const STICKY = 0o1000;

/** As many as Linux follows (path_resolution(7)). */
const MAX_LINKS = 40;

interface Step {
  path: string;
  stats: Stats;
}

/** Why others than root and we could change what is at a path, and what to do about it; undefined when they cannot. Throws the system's error when there is nothing. */
export async function trustProblem(path: string): Promise<string | undefined> {
  const steps = await stepsTo(path);
  for (const [index, step] of steps.entries()) {
    const problem = await problemOf(step, steps[index + 1]);
    if (problem !== undefined) return `${step.path}: ${problem}`;
  }
  return undefined;
}

/** From the root directory to what is at the path in the end, over all links. */
async function stepsTo(path: string): Promise<Step[]> {
  const steps = [await stepAt("/")];
  let directory = "/";
  let ahead = namesIn(path);
  let links = 0;
  for (let name = ahead.shift(); name !== undefined; name = ahead.shift()) {
    const step = await stepAt(name === ".." ? dirname(directory) : join(directory, name));
    steps.push(step);
    if (!step.stats.isSymbolicLink()) {
      directory = step.path;
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) throw Object.assign(new Error(`${path}: too many symbolic links`), { code: "ELOOP" });
    const target = await readlink(step.path);
    if (target.startsWith("/")) directory = "/";
    ahead = [...namesIn(target), ...ahead];
  }
  return steps;
}

async function stepAt(path: string): Promise<Step> {
  return { path, stats: await lstat(path) };
}

function namesIn(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

async function problemOf({ stats }: Step, next: Step | undefined): Promise<string | undefined> {
  if (stats.uid !== ROOT && stats.uid !== process.geteuid?.()) {
    return `it belongs to user ${stats.uid}, who could change it; chown root`;
  }
  // A link's own mode means nothing.
  if (stats.isSymbolicLink()) return undefined;
  if ((stats.mode & STICKY) !== 0 && next?.stats.isDirectory() === true) return undefined;
  if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) return "anybody could change it; chmod o-w";
  if ((stats.mode & WRITABLE_BY_GROUP) === 0) return undefined;
  return `anybody in group ${await groupName(stats.gid)} could change it; chmod g-w`;
}

/** The number itself when /etc/group does not know it (group(5)). */
async function groupName(gid: number): Promise<string> {
  const groups = await readFile("/etc/group", "utf8").catch(() => "");
  const fields = groups.split("\n").map((line) => line.split(":"));
  return fields.find(([, , number]) => number === String(gid))?.[0] ?? String(gid);
}
