/** The two programs as a user runs them, each in its own process. */
import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

// The bundles, as they are shipped: scripts/test.ts builds them before this tier.
const VMMESSAGE = fileURLToPath(new URL("../../../dist/vmmessage.js", import.meta.url));
const AGENT = fileURLToPath(new URL("../../../dist/agent.js", import.meta.url));
const LISTENER = fileURLToPath(new URL("one-client-listener.ts", import.meta.url));

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
  /** What was printed, byte for byte. */
  bytes: Buffer;
}

interface RunOptions {
  env?: Record<string, string>;
  stdin?: string | Uint8Array;
  /** A command to run it under. */
  under?: readonly string[];
}

/** A program under way. */
export class Running {
  readonly child: ChildProcess;
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];
  readonly #ended: Promise<unknown>;

  constructor(program: string, args: readonly string[], { env = {}, stdin = "", under = [] }: RunOptions) {
    const [command = process.execPath, ...rest] = [...under, process.execPath, program, ...args];
    this.child = spawn(command, rest, { env: { ...process.env, ...env } });
    this.child.stdout?.on("data", (piece: Buffer) => this.#stdout.push(piece));
    this.child.stderr?.on("data", (piece: Buffer) => this.#stderr.push(piece));
    this.child.stdin?.on("error", () => undefined).end(stdin);
    this.#ended = once(this.child, "close");
  }

  get stdout(): string {
    return Buffer.concat(this.#stdout).toString();
  }

  get stderr(): string {
    return Buffer.concat(this.#stderr).toString();
  }

  /** The most memory it ever had resident, in MiB. */
  async peakMemoryMib(): Promise<number> {
    const status = await readFile(`/proc/${this.child.pid ?? 0}/status`, "utf8");
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  }

  async outcome(): Promise<Outcome> {
    await this.#ended;
    return { code: this.child.exitCode, stdout: this.stdout, stderr: this.stderr, bytes: Buffer.concat(this.#stdout) };
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal);
    this.child.stdout?.resume();
    await this.#ended;
  }
}

/** Starts `vmmessage`; it is killed when the test ends before it does. */
export function startVmmessage(args: readonly string[], options: RunOptions = {}): Running {
  return started(VMMESSAGE, args, options);
}

export function vmmessage(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return startVmmessage(args, options).outcome();
}

/** A guest without a guest: the agent's daemon listens on a Unix socket, one host at a time, as a VM's chardev does. */
export class RealAgent {
  readonly #directory: string;
  readonly #socketPath: string;
  #daemon: Running | undefined;

  constructor(directory: string, socketPath: string) {
    this.#directory = directory;
    this.#socketPath = socketPath;
  }

  async start(): Promise<void> {
    const state = ["--state-dir", join(this.#directory, "state"), "--run-dir", join(this.#directory, "run")];
    const daemon = started(AGENT, ["run", "--channel", `unix:${this.#socketPath}`, ...state], {});
    this.#daemon = daemon;
    await until(() => daemon.stderr.includes('"started"'));
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#daemon?.kill(signal);
  }

  /** A command of the agent's, as a program in the guest runs it. */
  run(...args: string[]): Promise<Outcome> {
    return started(AGENT, ["--run-dir", join(this.#directory, "run"), ...args], {}).outcome();
  }
}

function started(program: string, args: readonly string[], options: RunOptions): Running {
  const running = new Running(program, args, options);
  onTestFinished(() => running.kill("SIGKILL"));
  return running;
}

/** A listener that accepts one client and leaves all others waiting; prints `accepted` when it has one. */
export async function listenForOne(path: string, backlog = 5): Promise<ChildProcessByStdio<null, Readable, null>> {
  const listener = spawn(process.execPath, [LISTENER, path, String(backlog)], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void listener.kill("SIGKILL"));
  await once(listener.stdout, "data");
  return listener;
}

export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "vmmessage-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Looks until it is so. The test's own time-out is what ends it when it never is. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}
