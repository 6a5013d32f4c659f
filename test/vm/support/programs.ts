/** The two programs as a user runs them: `vmmessage` here, `agent` in the guest. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import type { Guest } from "../harness/guest.ts";
import type { ExecOptions, ExecResult } from "../harness/qga.ts";
import { waitFor } from "../harness/wait-for.ts";

const hostProgram = join(import.meta.dirname, "../../../host-cli/main.ts");

/** The VM's name wherever a test needs one. */
export const vm = "web1";

export interface Outcome extends ExecResult {
  /** `stdout` as it came. */
  bytes: Buffer;
}

export interface HostOptions {
  input?: string | Buffer;
  /** The channel's socket, when it is not the agent port's. */
  socketPath?: string;
}

/** Runs `vmmessage` on the guest's channel to its end. */
export async function vmmessage(guest: Guest, args: string[], options: HostOptions = {}): Promise<Outcome> {
  await using program = startVmmessage(guest, args, options);
  return await program.outcome;
}

/** Starts `vmmessage`, for the commands that go on until something happens. */
export function startVmmessage(guest: Guest, args: string[], options: HostOptions = {}): RunningProgram {
  const { input = "", socketPath = guest.channelPath } = options;
  const child = spawn(process.execPath, [hostProgram, "--socket", socketPath, "-v", vm, ...args]);
  child.stdin.on("error", () => undefined); // a program need not read it
  child.stdin.end(input);
  return new RunningProgram(child);
}

/** Ends with the scope it was started in. */
export class RunningProgram implements AsyncDisposable {
  readonly outcome: Promise<Outcome>;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #stdout: Buffer[] = [];

  constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#child = child;
    child.stdout.on("data", (chunk: Buffer) => this.#stdout.push(chunk));
    this.outcome = this.#run();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves when this text stands in what was printed. */
  async printed(wanted: string): Promise<void> {
    await waitFor(`"${wanted}" from vmmessage`, () => Buffer.concat(this.#stdout).includes(wanted));
  }

  async interrupt(): Promise<Outcome> {
    this.#child.kill("SIGINT");
    return this.outcome;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.outcome;
  }

  async #run(): Promise<Outcome> {
    const closed = once(this.#child, "close");
    const stderr = await text(this.#child.stderr);
    await closed;
    const bytes = Buffer.concat(this.#stdout);
    return { exitCode: this.#child.exitCode ?? -1, stdout: bytes.toString(), stderr, bytes };
  }
}

/** Runs `agent` in the guest. */
export function agent(guest: Guest, args: string[], options?: ExecOptions): Promise<ExecResult> {
  return guest.exec(["agent", ...args], options);
}

/** The output of a command of `agent` that must succeed, without its last newline. */
export async function agentSays(guest: Guest, args: string[], options?: ExecOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await agent(guest, args, options);
  if (exitCode !== 0) throw new Error(`agent ${args.join(" ")}: exit code ${exitCode}: ${stderr}`);
  return stdout.replace(/\n$/, "");
}
