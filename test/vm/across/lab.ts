/**
 * Two hosts and a broker, each in a network of its own: real managers, a real RabbitMQ between them, and a real guest on each
 * host. Whatever is started ends with the test.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Outcome, Running } from "../../integration/host-cli/programs.ts";
import { ManagerUnderTest } from "../../integration/support/managers.ts";
import { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import type { Guest } from "../harness/guest.ts";
import { waitFor } from "../harness/wait-for.ts";
import { startGuestWithAgent } from "../support/guests.ts";
import { AppliedRecord, recordArgs } from "./applied-record.ts";
import { Link, Machine } from "./network.ts";

/** RFC 1918; they are known in these namespaces only. */
const BROKER_ADDRESS = "10.77.0.1";
const HOST_A = { name: "hosta", address: "10.77.0.2", vm: "web1", uuid: "172dd6f8-0000-4000-8000-0000000000a1" };
const HOST_B = { name: "hostb", address: "10.77.0.3", vm: "web2", uuid: "172dd6f8-0000-4000-8000-0000000000b2" };

/** All that a manager needs at the broker. */
const RIGHTS = String.raw`^vmmessage(\..*)?$`;

/** Every message of a test has a key of its own, and all of them are to fit. */
const AGENT_ARGS = ["--limit", "1000000"];

/** A manager that lost its broker tries again after 30 s at the latest, and then they have to find each other. */
const TOGETHER_TIMEOUT_MS = 60_000;

/** Characters of a log that a failed test shows. */
const LOG_END = 4_000;

const shippedBundles = join(import.meta.dirname, "..", "..", "..", "dist");

export interface Host extends Network, RecordedGuest {
  name: string;
  manager: ManagerUnderTest;
  /** The name of the VM that runs there. */
  vm: string;
}

interface Parts {
  bundles: string;
  broker: RabbitUnderTest;
  hosta: Host;
  hostb: Host;
  /** All of it, in the order in which it was started. */
  started: AsyncDisposableStack;
}

export class Lab implements AsyncDisposable {
  readonly broker: RabbitUnderTest;
  readonly hosta: Host;
  readonly hostb: Host;
  readonly #bundles: string;
  readonly #started: AsyncDisposableStack;

  private constructor({ bundles, broker, hosta, hostb, started }: Parts) {
    this.#bundles = bundles;
    this.broker = broker;
    this.hosta = hosta;
    this.hostb = hostb;
    this.#started = started;
  }

  /** Settles when each host reaches the other one's VM. `bundles`: the programs' directory, if not what is shipped. */
  static async start({ bundles = shippedBundles } = {}): Promise<Lab> {
    await using started = new AsyncDisposableStack();
    const builder = await LabBuilder.start(started, bundles);
    const networks = [await builder.addNetwork(HOST_A), await builder.addNetwork(HOST_B)] as const;
    const [broker, guestOfA, guestOfB] = await builder.startSlowParts();
    const hosta = await builder.addHost(HOST_A, networks[0], guestOfA);
    const hostb = await builder.addHost(HOST_B, networks[1], guestOfB);
    const lab = new Lab({ bundles, broker, hosta, hostb, started: started.move() });
    try {
      await lab.untilTogether();
      return lab;
    } catch (error) {
      const logs = await lab.logs();
      await lab[Symbol.asyncDispose]();
      throw new Error(`${String(error)}\n${logs}`, { cause: error });
    }
  }

  get hosts(): [Host, Host] {
    return [this.hosta, this.hostb];
  }

  otherThan(host: Host): Host {
    return host === this.hosta ? this.hostb : this.hosta;
  }

  /** Settles when the guest of each host answers through the other one. */
  async untilTogether(): Promise<void> {
    await Promise.all(this.hosts.map(async (host) => this.#untilReaches(host, this.otherThan(host).vm)));
  }

  /** The ends of what the managers have to say. */
  async logs(): Promise<string> {
    const logs = await Promise.all(this.hosts.map(async ({ name, manager }) => [name, await manager.log()] as const));
    return logs.map(([name, log]) => `${name}:\n${log.slice(-LOG_END)}`).join("\n");
  }

  /** `vmmessage` on that host, to its end. */
  vmmessage(host: Host, ...args: string[]): Promise<Outcome> {
    return this.startVmmessage(host, ...args).outcome();
  }

  /** Who starts it ends it. */
  startVmmessage({ machine, manager }: Host, ...args: string[]): Running {
    const under = ["setpriv", "--pdeathsig=KILL", ...machine.wrapper];
    return new Running(join(this.#bundles, "vmmessage.js"), args, {
      under,
      env: { VMMESSAGE_MANAGER: manager.socketPath },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started.disposeAsync();
  }

  async #untilReaches({ name, manager }: Host, vm: string): Promise<void> {
    let last: unknown;
    const isReached = async (): Promise<boolean> => {
      const answer = await manager.post(`/v1/vms/${vm}/ping`, {}).catch(String);
      last = answer;
      return typeof answer !== "string" && answer.status === 200;
    };
    await waitFor(`${vm} through ${name}`, isReached, { timeoutMs: TOGETHER_TIMEOUT_MS, intervalMs: 50 }).catch(
      (error: unknown) => {
        throw new Error(`${String(error)}; the last answer was ${JSON.stringify(last)}`);
      },
    );
  }
}

interface Network {
  machine: Machine;
  link: Link;
}

interface RecordedGuest {
  guest: Guest;
  /** What it has done. */
  record: AppliedRecord;
}

/** Puts the parts together, in their order. */
class LabBuilder {
  readonly #started: AsyncDisposableStack;
  readonly #bundles: string;
  readonly #directory: string;
  readonly #middle: Machine;
  readonly #password = randomBytes(16).toString("hex");
  #peers: object = {};

  private constructor(started: AsyncDisposableStack, bundles: string, directory: string, middle: Machine) {
    this.#started = started;
    this.#bundles = bundles;
    this.#directory = directory;
    this.#middle = middle;
  }

  static async start(started: AsyncDisposableStack, bundles: string): Promise<LabBuilder> {
    const directory = await mkdtemp(join(tmpdir(), "vmm-across-"));
    started.defer(() => rm(directory, { recursive: true, force: true }));
    return new LabBuilder(started, bundles, directory, started.use(await Machine.start("broker")));
  }

  /** The broker listens at the middle's ends of them, so they come first. */
  async addNetwork({ name, address }: typeof HOST_A): Promise<Network> {
    const machine = this.#started.use(await Machine.start(name));
    return { machine, link: await Link.lay(this.#middle, machine, { middle: BROKER_ADDRESS, end: address }) };
  }

  /** At the same time, with all of them over when this settles. */
  async startSlowParts(): Promise<[RabbitUnderTest, RecordedGuest, RecordedGuest]> {
    const parts = [this.#startBroker(), this.#startGuest(HOST_A), this.#startGuest(HOST_B)] as const;
    await Promise.allSettled(parts);
    return Promise.all(parts);
  }

  async addHost({ name, vm, uuid }: typeof HOST_A, network: Network, recorded: RecordedGuest): Promise<Host> {
    const listed = [{ name: vm, uuid, socket: recorded.guest.channelPath }];
    const config = { peers: this.#peers };
    const wrapper = ["setpriv", "--pdeathsig=KILL", ...network.machine.wrapper];
    const program = join(this.#bundles, "vmmessaged.js");
    const manager = this.#started.use(await ManagerUnderTest.start(listed, config, { wrapper, program }));
    return { name, vm, manager, ...network, ...recorded };
  }

  /** With one user, who may do what a manager needs and nothing else. */
  async #startBroker(): Promise<RabbitUnderTest> {
    const isListening = (port: number): Promise<boolean> => this.#middle.isListening(port);
    const place = { address: BROKER_ADDRESS, wrapper: this.#middle.wrapper, isListening, isServing: isListening };
    const rights = ["configure", "write", "read"].map((right) => `default_permissions.${right} = ${RIGHTS}`);
    const noTags = "default_user_tags.administrator = false";
    const user = ["default_user = vmmessage", `default_pass = ${this.#password}`, noTags, ...rights];
    const broker = await RabbitUnderTest.start(user.join("\n"), place);
    this.#started.use(broker);
    const [passwordFile, keyFile] = await Promise.all([
      this.#writeSecret("password", this.#password),
      this.#writeSecret("peers.key", randomBytes(32).toString("hex")),
    ]);
    this.#peers = { url: `amqp://vmmessage@${BROKER_ADDRESS}:${broker.port}/`, passwordFile, keyFile };
    return broker;
  }

  async #startGuest({ vm, uuid }: typeof HOST_A): Promise<RecordedGuest> {
    const path = join(this.#directory, `${vm}.record`);
    const qemuArgs = recordArgs(path);
    const bundleDir = this.#bundles;
    const guest = this.#started.use(await startGuestWithAgent({ uuid, agent: AGENT_ARGS, qemuArgs, bundleDir }));
    return { guest, record: await AppliedRecord.start(guest, path) };
  }

  async #writeSecret(name: string, secret: string): Promise<string> {
    const path = join(this.#directory, name);
    await writeFile(path, `${secret}\n`, { mode: 0o600 });
    return path;
  }
}
