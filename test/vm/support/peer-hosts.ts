/**
 * Hosts whose managers meet in one RabbitMQ. They are this machine several times over: each has a name (a UTS namespace), a
 * manager with its own state, and a directory where the QEMUs that run there have a QMP socket for it.
 */
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { VmList, VmSummary } from "../../../shared/api/schemas.ts";
import { ManagerUnderTest } from "../../integration/support/managers.ts";
import type { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import { waitFor } from "../harness/wait-for.ts";

/** A broker that looks twice and an emulated guest take their time on a busy machine. */
const soon = { timeoutMs: 60_000, intervalMs: 50 };

export interface PeerHost {
  name: string;
  manager: ManagerUnderTest;
  /** Where a VM's QEMU has to listen for this host's manager to know it. */
  qmpPath: (vm: string) => string;
}

export class PeerHosts implements AsyncDisposable {
  readonly #started: AsyncDisposableStack;
  readonly #hosts: PeerHost[];

  private constructor(started: AsyncDisposableStack, hosts: PeerHost[]) {
    this.#started = started;
    this.#hosts = hosts;
  }

  /** Settles when every manager knows of all others. */
  static async start(rabbit: RabbitUnderTest, names: readonly string[]): Promise<PeerHosts> {
    await using started = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), "vmm-hosts-"));
    started.defer(() => rm(directory, { recursive: true, force: true }));
    const keyFile = join(directory, "peers.key");
    await writeFile(keyFile, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600 });
    const hosts: PeerHost[] = [];
    for (const name of names) {
      const qmp = join(directory, name);
      await mkdir(qmp);
      const config = { inventory: { qmp: [qmp] }, peers: { url: rabbit.url, keyFile } };
      const manager = started.use(await ManagerUnderTest.start([], config, { wrapper: onMachineNamed(name) }));
      hosts.push({ name, manager, qmpPath: (vm) => join(qmp, `${vm}.sock`) });
    }
    for (const host of hosts) await waitFor(`${host.name} to know the others`, () => knowsOthers(host, names), soon);
    return new PeerHosts(started.move(), hosts);
  }

  at(name: string): PeerHost {
    const host = this.#hosts.find((candidate) => candidate.name === name);
    if (host === undefined) throw new Error(`there is no host '${name}'`);
    return host;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started.disposeAsync();
  }
}

/** Settles when that host's manager says so of the VM. */
export async function untilVm(
  { name, manager }: PeerHost,
  id: string,
  what: string,
  isSo: (vm: VmSummary) => boolean,
): Promise<VmSummary> {
  let seen: VmSummary | undefined;
  const isSeen = async (): Promise<boolean> => {
    const { status, body } = await manager.get<VmSummary>(`/v1/vms/${id}`);
    seen = status === 200 ? body : undefined;
    return seen !== undefined && isSo(seen);
  };
  await waitFor(`${what} at ${name}`, isSeen, soon).catch((cause: unknown) => {
    throw new Error(`${name} says ${JSON.stringify(seen)}`, { cause });
  });
  return seen as unknown as VmSummary;
}

/** All VMs of all hosts, as that one lists them. */
export async function everywhere({ manager }: PeerHost): Promise<VmSummary[]> {
  return (await manager.get<VmList>("/v1/vms?everywhere=true")).body.vms;
}

/** What a program is started by to see this as its machine's name. The process that is started becomes the program. */
function onMachineNamed(name: string): string[] {
  return ["setpriv", "--pdeathsig=KILL", "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name];
}

async function knowsOthers({ manager, name }: PeerHost, names: readonly string[]): Promise<boolean> {
  const { managers = [] } = (await manager.get<VmList>("/v1/vms?everywhere=true")).body;
  return names.every((other) => other === name || managers.some(({ host, reason }) => host === other && !reason));
}
