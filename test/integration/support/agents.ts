/** A real agent in a process of its own, on a Unix socket in place of the port, with directories of its own. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { connectUnixSocket } from "../../../shared/channels/unix-socket.ts";
import { Client, type ClientOptions } from "../../../shared/client.ts";

/** The bundle, as it is shipped: scripts/test.ts builds it before this tier. */
export const agentProgram = join(import.meta.dirname, "..", "..", "..", "dist", "agent.js");

export interface RunResult {
  exitCode: number;
  stdout: Buffer;
  stderr: string;
}

/** Runs `agent` with these arguments to its end. */
export function runAgentCommand(args: string[], input: string | Buffer = ""): Promise<RunResult> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [agentProgram, ...args],
      { encoding: "buffer" },
      (error, stdout, stderr) => {
        const exitCode = error === null ? 0 : Number(error.code);
        resolve({ exitCode, stdout, stderr: stderr.toString() });
      },
    );
    // A command that reads no input may have ended before.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

export class AgentUnderTest implements AsyncDisposable {
  readonly directory: string;
  #child: ChildProcess | undefined;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** A new agent with no keys; `config` is what its configuration file says. */
  static async start(config: object | ((directory: string) => object) = {}): Promise<AgentUnderTest> {
    const agent = await AgentUnderTest.make(config);
    await agent.start();
    return agent;
  }

  /** One that is still to be started. */
  static async make(config: object | ((directory: string) => object) = {}): Promise<AgentUnderTest> {
    const agent = new AgentUnderTest(await mkdtemp(join(tmpdir(), "vmm-agent-")));
    const contents = typeof config === "function" ? (config as (directory: string) => object)(agent.directory) : config;
    await writeFile(join(agent.directory, "agent.json"), JSON.stringify(contents));
    return agent;
  }

  get channelPath(): string {
    return join(this.directory, "channel");
  }
  get runDirectory(): string {
    return join(this.directory, "run");
  }
  get stateDirectory(): string {
    return join(this.directory, "state");
  }
  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error("the agent is not running");
    return this.#child.pid;
  }

  get runArguments(): string[] {
    return [
      "run",
      `--channel=unix:${this.channelPath}`,
      `--config=${join(this.directory, "agent.json")}`,
      `--state-dir=${this.stateDirectory}`,
      `--run-dir=${this.runDirectory}`,
    ];
  }

  /** Starts it (again); settles when it answers. `wrapper` is a command to run it under. */
  async start(wrapper: string[] = []): Promise<void> {
    const [command = process.execPath, ...rest] = [...wrapper, process.execPath, agentProgram, ...this.runArguments];
    const log = await open(join(this.directory, "log"), "a");
    this.#child = spawn(command, rest, { stdio: ["ignore", log.fd, log.fd] });
    await log.close();
    await vi.waitUntil(async () => (await this.run("-l")).exitCode === 0, { timeout: 20_000, interval: 50 });
  }

  /** Runs a command of the agent against this one. */
  run(...args: string[]): Promise<RunResult> {
    return runAgentCommand([`--run-dir=${this.runDirectory}`, ...args]);
  }

  runWithInput(input: string | Buffer, ...args: string[]): Promise<RunResult> {
    return runAgentCommand([`--run-dir=${this.runDirectory}`, ...args], input);
  }

  /** The lines that `agent -l` prints. */
  async list(): Promise<string[]> {
    const { stdout } = await this.run("-l");
    return stdout.toString().split("\n").slice(0, -1);
  }

  /** A host on the channel. */
  async host(options: Partial<ClientOptions> = {}): Promise<Client> {
    return new Client(await connectUnixSocket(this.channelPath), { role: "host", ...options });
  }

  log(): Promise<string> {
    return readFile(join(this.directory, "log"), "utf8");
  }

  /** Settles with the exit code, or the signal that ended it. */
  async kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    const child = this.#child;
    if (child?.exitCode !== null || child.signalCode !== null) return null;
    const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    child.kill(signal);
    const [exitCode, endSignal] = await exited;
    return exitCode ?? endSignal;
  }

  /** Settles when it has ended, by whatever. */
  async untilEnd(): Promise<void> {
    const child = this.#child;
    if (child?.exitCode === null && child.signalCode === null) await once(child, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill("SIGKILL");
    await rm(this.directory, { recursive: true, force: true });
  }
}
