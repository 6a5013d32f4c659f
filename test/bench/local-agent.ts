// The bundled programs on this machine, without a guest: an agent whose channel is a Unix socket.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { buildBundles } from "../../scripts/build.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";
import { waitFor } from "../vm/harness/wait-for.ts";
import { access } from "node:fs/promises";
import { untilAgentAnswers } from "./guest.ts";

/** NODE_EXTRA_CA_CERTS alone would add tens of milliseconds to every start of Node. */
export const childEnvironment: NodeJS.ProcessEnv = { ...process.env, NODE_EXTRA_CA_CERTS: undefined };

/** A program that serves a socket, for as long as it is needed. */
export class LocalServer implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #kill: () => void;

  private constructor(command: string[], env: NodeJS.ProcessEnv) {
    const [program = "", ...args] = command;
    const child = spawn(program, args, { env, stdio: "ignore" });
    this.#child = child;
    this.#exited = once(child, "exit");
    this.#kill = (): void => void child.kill();
    process.once("exit", this.#kill);
  }

  /** Returns when `socketPath` is there. */
  static async start(command: string[], socketPath: string, env = childEnvironment): Promise<LocalServer> {
    const server = new LocalServer(command, env);
    const isThere = (): Promise<boolean> =>
      access(socketPath).then(
        () => true,
        () => false,
      );
    await waitFor(`the socket of ${command.join(" ")}`, isThere);
    return server;
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("the server did not start");
    return this.#child.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off("exit", this.#kill);
    this.#kill();
    await this.#exited;
  }
}

export class LocalAgent implements AsyncDisposable {
  readonly #dir: string;
  #server: LocalServer | undefined;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** Returns when it answers. */
  static async start(): Promise<LocalAgent> {
    const agent = new LocalAgent(await createTemporaryDirectory());
    await buildBundles({ outDir: agent.bundle });
    const places = ["--state-dir", agent.#path("state"), "--run-dir", agent.runDirectory];
    const run = ["run", "-d", "0", "--channel", `unix:${agent.channelPath}`, ...places];
    agent.#server = await LocalServer.start([...agent.command("agent"), ...run], agent.channelPath);
    await untilAgentAnswers(agent.channelPath);
    return agent;
  }

  /** How to run one of the bundled programs. */
  command(program: "agent" | "vmmessage"): string[] {
    return [process.execPath, join(this.bundle, `${program}.js`)];
  }
  /** Where the bundled programs are. */
  get bundle(): string {
    return this.#path("bundle");
  }
  /** Where a host connects. */
  get channelPath(): string {
    return this.#path("channel");
  }
  get runDirectory(): string {
    return this.#path("run");
  }
  /** Private to this agent, removed with it. */
  get dir(): string {
    return this.#dir;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await removeTemporaryDirectory(this.#dir);
  }

  #path(...names: string[]): string {
    return join(this.#dir, ...names);
  }
}
