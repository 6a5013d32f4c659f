/**
 * Machines that are network namespaces: each with a host name of its own, joined by links that can be cut. Nothing of them
 * is seen outside, and all of it is gone with the processes in it, however the test ends.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { runCommand } from "../harness/command.ts";

/** `/proc/PID/net/tcp` has a socket's state as this where it listens. */
const TCP_LISTEN = "0A";

export class Machine implements AsyncDisposable {
  readonly name: string;
  /** The process that keeps the namespaces. */
  readonly #keeper: ChildProcessByStdio<null, Readable, null>;

  private constructor(name: string, keeper: ChildProcessByStdio<null, Readable, null>) {
    this.name = name;
    this.#keeper = keeper;
  }

  static async start(name: string): Promise<Machine> {
    const script = `hostname ${name} && ip link set lo up && echo ready && exec sleep infinity`;
    const unshare = ["unshare", "--net", "--uts", "sh", "-c", script];
    const keeper = spawn("setpriv", ["--pdeathsig=KILL", ...unshare], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(keeper, "exit").then(() =>
      Promise.reject(new Error(`no namespaces for ${name}; is this root?`)),
    );
    ended.catch(() => undefined);
    await Promise.race([once(keeper.stdout, "data"), ended]);
    return new Machine(name, keeper);
  }

  get pid(): number {
    return this.#keeper.pid ?? 0;
  }

  /** What a program is started by to run there. The process that is started becomes the program. */
  get wrapper(): string[] {
    return ["nsenter", `--target=${this.pid}`, "--net", "--uts", "--"];
  }

  /** Runs a program there to its end. */
  run(...command: string[]): Promise<string> {
    const [program = "", ...args] = [...this.wrapper, ...command];
    return runCommand(program, args);
  }

  /** Whether somebody listens on an IPv4 port there. */
  async isListening(port: number): Promise<boolean> {
    const hexadecimal = port.toString(16).toUpperCase().padStart(4, "0");
    const sockets = (await readFile(`/proc/${this.pid}/net/tcp`, "utf8")).split("\n").slice(1);
    return sockets.some((line) => {
      const [, local = "", , state] = line.trim().split(/\s+/);
      return local.endsWith(`:${hexadecimal}`) && state === TCP_LISTEN;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#keeper.exitCode !== null || this.#keeper.signalCode !== null) return;
    const ended = once(this.#keeper, "exit");
    this.#keeper.kill("SIGKILL");
    await ended;
  }
}

/** Point to point, from a machine in the middle to another one: who is at its end reaches the middle and nothing else. */
export class Link {
  readonly #middle: Machine;
  /** Of the middle's end: how the other machine is called. */
  readonly #device: string;
  /** Of the other machine. */
  readonly #address: string;

  private constructor(middle: Machine, device: string, address: string) {
    this.#middle = middle;
    this.#device = device;
    this.#address = address;
  }

  static async lay(middle: Machine, end: Machine, addresses: { middle: string; end: string }): Promise<Link> {
    const device = end.name;
    await middle.run("ip", ...words(`link add ${device} type veth peer name uplink netns ${end.pid}`));
    await middle.run("ip", ...words(`addr add ${addresses.middle} peer ${addresses.end}/32 dev ${device}`));
    await end.run("ip", ...words(`addr add ${addresses.end} peer ${addresses.middle}/32 dev uplink`));
    await end.run("ip", ...words("link set uplink up"));
    const link = new Link(middle, device, addresses.end);
    await link.heal();
    return link;
  }

  /** From now on packets vanish, both ways; nobody is told that a connection is lost. */
  async cut(): Promise<void> {
    await this.#middle.run("ip", ...words(`link set ${this.#device} down`));
  }

  async heal(): Promise<void> {
    await this.#middle.run("ip", ...words(`link set ${this.#device} up`));
  }

  /** Both ends of every connection over it are told that it is lost. */
  async resetConnections(): Promise<void> {
    await this.#middle.run("ss", "--kill", "--no-header", "--tcp", "dst", this.#address);
  }
}

function words(line: string): string[] {
  return line.split(" ");
}
