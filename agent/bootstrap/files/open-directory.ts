/**
 * Directories that stay the ones that were looked at. Each is opened through the one above it, and files in it are named
 * through its descriptor (/proc/self/fd, proc(5)), as with openat(2): who may rename things on the way cannot lead us
 * elsewhere meanwhile.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { systemCode } from "../../../shared/cli/failure.ts";
import { ModuleError } from "../module.ts";

const DIRECTORY_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_DIRECTORY_MODE = 0o755;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/** As many as the kernel follows (path_resolution(7)). */
const MAX_LINKS = 40;

const sync = promisify(fsync);

export class OpenDirectory {
  /** For people. */
  readonly path: string;
  #descriptor: number | undefined;

  constructor(path: string, location = path) {
    this.path = path;
    this.#descriptor = openSync(location, DIRECTORY_FLAGS);
  }

  /** A path to an entry that leads to this very directory, wherever it is by then. */
  at(name: string): string {
    return `/proc/self/fd/${this.#open}/${name}`;
  }

  stat(): Stats {
    return fstatSync(this.#open);
  }

  /** Of the entry itself, also where that is a symbolic link; undefined where there is none. */
  lstat(name: string): Stats | undefined {
    return lstatSync(this.at(name), { throwIfNoEntry: false });
  }

  inodeOf(name: string): string | undefined {
    return lstatSync(this.at(name), { bigint: true, throwIfNoEntry: false })?.ino.toString();
  }

  entries(): string[] {
    return readdirSync(this.at("."));
  }

  changeMode(mode: number): void {
    fchmodSync(this.#open, mode);
  }

  sync(): Promise<void> {
    return sync(this.#open);
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  get #open(): number {
    if (this.#descriptor === undefined) throw new Error(`${this.path} is closed`);
    return this.#descriptor;
  }
}

/** A directory that was made on the way, and the one that it was made in. */
export interface MadeDirectory {
  parent: OpenDirectory;
  name: string;
}

type Step = { type: "missing" } | { type: "link"; target: string } | { type: "directory"; directory: OpenDirectory };

/**
 * Opens a directory; undefined where it is not there.
 *
 * Refused is a way through a directory that its group or others may write to, or through another user's symbolic link: they
 * could put another file in the place of ours. A sticky directory, in which they cannot, may lead there, but is not where
 * files are put: others may have put something there first. Throws ModuleError.
 */
export function openDirectory(path: string): OpenDirectory | undefined {
  return walk(path, () => undefined);
}

/** The same; those that are missing are made, 0755 and ours, and added to `made` at once. The caller closes their parents. */
export function openOrMakeDirectory(path: string, made: MadeDirectory[]): OpenDirectory {
  const directory = walk(path, (above, name) => make(above, name, made));
  if (directory === undefined) throw new Error(`${path} was neither there nor made`);
  return directory;
}

/** What to go on with where there is no entry of this name. */
type Missing = (above: OpenDirectory, name: string) => OpenDirectory | undefined;

function walk(path: string, missing: Missing): OpenDirectory | undefined {
  const names = namesIn(path);
  let links = 0;
  let directory = new OpenDirectory("/");
  try {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      const step = take(directory, name, missing);
      if (step.type === "link") {
        links += 1;
        if (links > MAX_LINKS) throw new ModuleError(`more than ${MAX_LINKS} symbolic links lead to it`);
        names.unshift(...namesIn(step.target));
        if (!step.target.startsWith("/")) continue;
      }
      directory.close();
      if (step.type === "missing") return undefined;
      directory = step.type === "link" ? new OpenDirectory("/") : step.directory;
    }
    refuseOthersWriting(directory, 0);
    return directory;
  } catch (error) {
    directory.close();
    throw error;
  }
}

function take(above: OpenDirectory, name: string, missing: Missing): Step {
  refuseOthersWriting(above, STICKY);
  const entry = above.lstat(name);
  if (entry?.isSymbolicLink() === true) return { type: "link", target: followed(above, name, entry) };
  const directory = entry === undefined ? missing(above, name) : opened(above, name);
  return directory === undefined ? { type: "missing" } : { type: "directory", directory };
}

function make(above: OpenDirectory, name: string, made: MadeDirectory[]): OpenDirectory {
  mkdirSync(above.at(name), NEW_DIRECTORY_MODE);
  made.push({ parent: new OpenDirectory(above.path, above.at(".")), name });
  const directory = opened(above, name);
  // The umask took some away.
  directory.changeMode(NEW_DIRECTORY_MODE);
  return directory;
}

function opened(above: OpenDirectory, name: string): OpenDirectory {
  const path = join(above.path, name);
  try {
    return new OpenDirectory(path, above.at(name));
  } catch (error) {
    if (systemCode(error) !== "ENOTDIR") throw error;
    throw new ModuleError(`${path} is no directory`, [], { cause: error });
  }
}

function followed(above: OpenDirectory, name: string, link: Stats): string {
  if (link.uid === 0 || link.uid === process.geteuid?.()) return readlinkSync(above.at(name));
  const path = join(above.path, name);
  throw new ModuleError(
    `${path} is a symbolic link of the user ${link.uid}, who may lead it anywhere; only root's are followed`,
  );
}

/** A directory with one of the bits `unless` set is no matter. */
function refuseOthersWriting(directory: OpenDirectory, unless: number): void {
  const { mode } = directory.stat();
  if ((mode & WRITABLE_BY_OTHERS) === 0 || (mode & unless) !== 0) return;
  const permissions = (mode & 0o7777).toString(8).padStart(4, "0");
  throw new ModuleError(
    `others than its owner may write to ${directory.path} (mode ${permissions}) and so put another file in the place of ours; ` +
      "only its owner may be allowed to",
  );
}

function namesIn(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}
