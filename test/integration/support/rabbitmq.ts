/**
 * A real RabbitMQ of its own: private directories, loopback (or a place of the test's) and free ports only, its own epmd. It takes 10 to 40 s to start:
 * one for all tests of a file.
 */
import { type ChildProcess, execFile, spawn, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import * as amqp from "amqplib";
import type { AmqpBroker } from "../../../manager/amqp/broker.ts";
import { freePort, isListening } from "./ports.ts";

/** Where Debian's package has the programs themselves; those on the PATH start the system's broker. */
const PROGRAMS = "/usr/lib/rabbitmq/bin";

const START_TIMEOUT_MS = 120_000;
const CTL_TIMEOUT_MS = 60_000;
const PORT_TIMEOUT_MS = 10_000;
const POLL_MS = 50;

const run = promisify(execFile);

/** For `beforeAll`: the broker's start, on a busy machine too. */
export const RABBIT_HOOK_TIMEOUT_MS = START_TIMEOUT_MS + 30_000;

/** Where it runs, and how it is looked at from here. */
export interface RabbitPlace {
  /** Where it listens: IPv4. */
  address: string;
  /** What its programs are started by, as `nsenter --net ...`. */
  wrapper: readonly string[];
  isListening(port: number): Promise<boolean>;
  /** Whether clients are let in. */
  isServing(port: number): Promise<boolean>;
}

const LOOPBACK: RabbitPlace = { address: "127.0.0.1", wrapper: [], isListening, isServing: letsGuestIn };

export class RabbitUnderTest implements AsyncDisposable {
  readonly directory: string;
  readonly port: number;
  readonly #place: RabbitPlace;
  readonly #distributionPort: number;
  readonly #epmdPort: number;
  #epmd: ChildProcess | undefined;
  #broker: ChildProcess | undefined;

  private constructor(
    directory: string,
    place: RabbitPlace,
    [port, distributionPort, epmdPort]: [number, number, number],
  ) {
    this.directory = directory;
    this.#place = place;
    this.port = port;
    this.#distributionPort = distributionPort;
    this.#epmdPort = epmdPort;
  }

  /**
   * Settles when a client has been let in.
   * @param config lines for its rabbitmq.conf
   * @param place loopback, unless it is to be somewhere else
   */
  static async start(config = "", place = LOOPBACK): Promise<RabbitUnderTest> {
    const directory = await mkdtemp(join(tmpdir(), "rmq-"));
    const rabbit = new RabbitUnderTest(directory, place, [await freePort(), await freePort(), await freePort()]);
    await writeFile(join(directory, "rabbitmq.conf"), `${config}\n`);
    await writeFile(join(directory, "enabled_plugins"), "[].\n");
    try {
      await rabbit.#startEpmd();
      await rabbit.restart();
    } catch (error) {
      await rabbit.close();
      throw error;
    }
    return rabbit;
  }

  /** Of the user `guest`, on loopback. */
  get url(): string {
    return `amqp://guest:guest@127.0.0.1:${this.port}`;
  }

  /** For what takes a broker apart from its URL. */
  broker(changes: Partial<AmqpBroker> = {}): AmqpBroker {
    const guest = { user: "guest", password: "guest" };
    return { tls: false, host: "127.0.0.1", port: this.port, vhost: "/", ...guest, ...changes };
  }

  /** What is durable is still there. */
  async restart(): Promise<void> {
    await this.kill9();
    const log = await open(join(this.directory, "broker.log"), "a");
    this.#broker = this.#spawn([join(PROGRAMS, "rabbitmq-server")], ["ignore", log.fd, log.fd]);
    await log.close();
    await until(() => this.#isServing(), START_TIMEOUT_MS);
  }

  /** Ends it as a power failure of its machine would; settles when nobody listens on its port. */
  async kill9(): Promise<void> {
    await killed(this.#broker);
    await until(async () => !(await this.#place.isListening(this.port)), PORT_TIMEOUT_MS);
  }

  /** It stands still when this settles: connections stay, and nothing is answered. */
  async pause(): Promise<void> {
    this.#broker?.kill("SIGSTOP");
    // A thread that runs on another processor goes on for a moment.
    await until(() => this.#standsStill(), PORT_TIMEOUT_MS);
  }

  resume(): void {
    this.#broker?.kill("SIGCONT");
  }

  /** rabbitmqctl, which takes seconds. Answers what it prints. */
  async ctl(...args: string[]): Promise<string> {
    const ctl = [join(PROGRAMS, "rabbitmqctl"), "--node", this.#nodeName, "--quiet", ...args];
    const [program = "", ...command] = [...this.#place.wrapper, ...ctl];
    const { stdout } = await run(program, command, { env: this.#environment, timeout: CTL_TIMEOUT_MS });
    return stdout.trim();
  }

  async close(): Promise<void> {
    await killed(this.#broker);
    await killed(this.#epmd);
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #standsStill(): Promise<boolean> {
    const tasks = `/proc/${this.#broker?.pid ?? "none"}/task`;
    const stats = await Promise.all((await readdir(tasks)).map((task) => readFile(join(tasks, task, "stat"), "utf8")));
    return stats.every((stat) => stat.slice(stat.lastIndexOf(")")).includes(" T "));
  }

  get #nodeName(): string {
    return `rabbit-${this.port}@localhost`;
  }

  get #environment(): NodeJS.ProcessEnv {
    const { directory } = this;
    return {
      PATH: [process.env["PATH"] ?? "", "/usr/sbin", "/sbin"].join(delimiter),
      LC_ALL: "C.UTF-8",
      HOME: directory,
      RABBITMQ_CONF_ENV_FILE: join(directory, "none.conf"),
      RABBITMQ_CONFIG_FILE: join(directory, "rabbitmq"),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, "enabled_plugins"),
      RABBITMQ_MNESIA_BASE: join(directory, "mnesia"),
      RABBITMQ_LOG_BASE: join(directory, "log"),
      RABBITMQ_PID_FILE: join(directory, "broker.pid"),
      RABBITMQ_NODENAME: this.#nodeName,
      RABBITMQ_NODE_IP_ADDRESS: this.#place.address,
      RABBITMQ_NODE_PORT: String(this.port),
      RABBITMQ_DIST_PORT: String(this.#distributionPort),
      /** Runs Erlang in place of the start script: the process that we started is the broker. */
      RABBITMQ_ALLOW_INPUT: "1",
      /** One scheduler that sleeps when idle: many brokers share a test machine. */
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 1:1 +sbwt none -noinput -kernel inet_dist_use_interface {127,0,0,1}",
      ERL_EPMD_ADDRESS: "127.0.0.1",
      ERL_EPMD_PORT: String(this.#epmdPort),
    };
  }

  /** As our own child: the one that Erlang would start goes on when the broker is gone. */
  async #startEpmd(): Promise<void> {
    this.#epmd = this.#spawn(["epmd", "-address", "127.0.0.1", "-port", String(this.#epmdPort)], "ignore");
    await until(() => this.#place.isListening(this.#epmdPort), PORT_TIMEOUT_MS);
  }

  #spawn(command: readonly string[], stdio: StdioOptions): ChildProcess {
    const args = ["--pdeathsig=KILL", ...this.#place.wrapper, ...command];
    return spawn("setpriv", args, { env: this.#environment, stdio });
  }

  async #isServing(): Promise<boolean> {
    if (this.#broker?.exitCode !== null) throw new Error(`RabbitMQ ended; ${this.directory}/broker.log says why`);
    return this.#place.isServing(this.port);
  }
}

async function letsGuestIn(port: number): Promise<boolean> {
  try {
    await (await amqp.connect(`amqp://guest:guest@127.0.0.1:${port}`, { timeout: 5_000 })).close();
    return true;
  } catch {
    return false;
  }
}

/** SIGKILL reaches a process that stands still, too. */
async function killed(child: ChildProcess | undefined): Promise<void> {
  if (child?.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

/** The benchmark starts brokers too, where vitest's own does not work. */
async function until(isSo: () => Promise<boolean>, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`the broker took more than ${timeoutMs} ms`);
    await pause(POLL_MS);
  }
}
