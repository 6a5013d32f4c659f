/** Simulated guests in a process of their own, so that what they cost does not count as the manager's. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import type { GuestCounters } from "./simulated-guest.ts";

export type FleetCommand =
  /** All guests set keys as fast as their channels take it, until they rest. */
  | { type: "change" }
  | { type: "rest" }
  | { type: "flood" | "stop-flood" | "stop-reading" | "hang"; guest: string }
  /** Of all guests: what was counted of pings. */
  | { type: "forget-pings" }
  | { type: "count" };

export type FleetMessage = { type: "listening" } | { type: "obeyed"; counters: Record<string, GuestCounters> };

/** A guest as the manager's file lists it. */
export interface ListedGuest {
  name: string;
  socket: string;
}

export class GuestFleet implements AsyncDisposable {
  readonly guests: readonly ListedGuest[];
  readonly #directory: string;
  readonly #child: ChildProcess;

  private constructor(directory: string, child: ChildProcess, names: readonly string[]) {
    this.#directory = directory;
    this.#child = child;
    this.guests = names.map((name) => ({ name, socket: join(directory, name) }));
  }

  /** Guests named `PREFIX0`, `PREFIX1` ...; settles when all of them listen. */
  static async start(prefix: string, count: number): Promise<GuestFleet> {
    const directory = await createTemporaryDirectory();
    const child = fork(join(import.meta.dirname, "guests.ts"), [directory, prefix, String(count)], { execArgv: [] });
    const names = Array.from({ length: count }, (_, index) => `${prefix}${index}`);
    const fleet = new GuestFleet(directory, child, names);
    await fleet.#message();
    return fleet;
  }

  /** Settles when they have heard it, with what they had counted then. One command at a time. */
  async command(command: FleetCommand): Promise<Record<string, GuestCounters>> {
    this.#child.send(command);
    const message = await this.#message();
    if (message.type !== "obeyed") throw new Error(`the guests said ${message.type} to ${command.type}`);
    return message.counters;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exited;
    }
    await removeTemporaryDirectory(this.#directory);
  }

  async #message(): Promise<FleetMessage> {
    const ended = new AbortController();
    const exited = once(this.#child, "exit", { signal: ended.signal }).then(() => {
      throw new Error("the process of the simulated guests ended");
    });
    exited.catch(() => undefined);
    try {
      const told = once(this.#child, "message", { signal: ended.signal }) as Promise<[FleetMessage]>;
      const [message] = await Promise.race([told, exited]);
      return message;
    } finally {
      ended.abort();
    }
  }
}
