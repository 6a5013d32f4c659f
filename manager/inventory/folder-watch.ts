/** Says when something came to, left or was replaced in folders that may themselves come and go. */
import { type FSWatcher, statSync, watch } from "node:fs";

/** The kernel has a limit for each user (fs.inotify.max_user_watches, 8,192 or more). Other folders are looked at in time. */
const MAX_WATCHED = 1_024;

interface Watched {
  watcher: FSWatcher;
  /** Of the folder itself: another one of that name is not the one that is watched. */
  identity: string;
}

/** A help, not a promise: who uses it looks again from time to time. */
export class FolderWatch implements Disposable {
  readonly #onChange: () => void;
  readonly #watched = new Map<string, Watched>();

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Watches exactly these, as far as they are there. To be called again from time to time, before looking. */
  watch(folders: ReadonlySet<string>): void {
    for (const [folder, { identity }] of this.#watched) {
      if (!folders.has(folder) || identityOf(folder) !== identity) this.#drop(folder);
    }
    for (const folder of folders) {
      if (!this.#watched.has(folder) && this.#watched.size < MAX_WATCHED) this.#add(folder);
    }
  }

  [Symbol.dispose](): void {
    for (const folder of [...this.#watched.keys()]) this.#drop(folder);
  }

  #add(folder: string): void {
    const identity = identityOf(folder);
    if (identity === undefined) return;
    try {
      const watcher = watch(folder, this.#onChange);
      this.#watched.set(folder, { watcher, identity });
      watcher.on("error", () => {
        this.#drop(folder);
      });
    } catch {
      // Gone since, or over the kernel's limit: it is looked at in time.
    }
  }

  #drop(folder: string): void {
    this.#watched.get(folder)?.watcher.close();
    this.#watched.delete(folder);
  }
}

function identityOf(folder: string): string | undefined {
  try {
    const { dev, ino, birthtimeMs } = statSync(folder);
    return `${dev}:${ino}:${birthtimeMs}`;
  } catch {
    return undefined;
  }
}
