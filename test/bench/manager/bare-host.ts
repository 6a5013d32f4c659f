/** The bare program of bare-links.ts, in a process of its own as the manager is. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import type { ListedGuest } from "./guest-fleet.ts";

export type BareCommand = { type: "open"; sockets: string[] } | { type: "send-all"; directory: string };

/** How long a command took. */
export interface BareMessage {
  ms: number;
}

export class BareHost implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.#directory = directory;
  }

  static async start(): Promise<BareHost> {
    const directory = await createTemporaryDirectory();
    const bare = new BareHost(fork(join(import.meta.dirname, "bare-links.ts"), { execArgv: [] }), directory);
    await bare.open([]);
    return bare;
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("the bare program did not start");
    return this.#child.pid;
  }

  /** Settles when all guests have answered the greeting, with the seconds it took. */
  open(guests: readonly ListedGuest[]): Promise<number> {
    return this.#seconds({ type: "open", sockets: guests.map(({ socket }) => socket) });
  }

  /** A message to every guest: seconds until all of the answers are on disk. */
  sendAll(): Promise<number> {
    return this.#seconds({ type: "send-all", directory: this.#directory });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exited;
    }
    await removeTemporaryDirectory(this.#directory);
  }

  async #seconds(command: BareCommand): Promise<number> {
    const told = once(this.#child, "message") as Promise<[BareMessage]>;
    this.#child.send(command);
    const [{ ms }] = await told;
    return ms / 1000;
  }
}
