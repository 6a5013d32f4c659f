/** A socket that daemons notify as they notify systemd, and what they have said there. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { vi } from "vitest";

const receiver = join(import.meta.dirname, "notify-receiver.py");

/** Long enough for a machine that is busy with other tests. */
const SOON = { timeout: 30_000, interval: 20 };

export class NotifySocket implements AsyncDisposable {
  readonly #directory: string;
  readonly #child: ChildProcessByStdio<null, Readable, null>;
  /** Each notice as its variables, in the order of their coming. */
  readonly notices: string[][] = [];

  private constructor(directory: string) {
    this.#directory = directory;
    this.#child = spawn("/usr/bin/python3", [receiver, this.path], { stdio: ["ignore", "pipe", "inherit"] });
    createInterface(this.#child.stdout).on("line", (line) => this.notices.push(JSON.parse(line) as string[]));
  }

  static async open(): Promise<NotifySocket> {
    const socket = new NotifySocket(await mkdtemp(join(tmpdir(), "vmm-notify-")));
    // An empty notice is the receiver's own: it listens.
    await vi.waitUntil(() => socket.notices.length > 0, SOON);
    socket.notices.length = 0;
    return socket;
  }

  get path(): string {
    return join(this.#directory, "notify");
  }

  /** What systemd has in a service's environment; seconds of WatchdogSec=. */
  environment(watchdogSeconds?: number): Record<string, string> {
    const usec = watchdogSeconds === undefined ? {} : { WATCHDOG_USEC: String(watchdogSeconds * 1_000_000) };
    return { NOTIFY_SOCKET: this.path, ...usec };
  }

  count(variable: string): number {
    return this.notices.filter((variables) => variables.includes(variable)).length;
  }

  /** Settles when the variable has come so often. */
  async until(variable: string, count = 1): Promise<void> {
    await vi.waitUntil(() => this.count(variable) >= count, SOON);
  }

  /** Settles when the variable has come once more from now on. */
  untilAnother(variable: string): Promise<void> {
    return this.until(variable, this.count(variable) + 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
    await rm(this.#directory, { recursive: true, force: true });
  }
}
