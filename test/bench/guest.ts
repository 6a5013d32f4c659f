// A guest as the benchmarks need it. They leave the harness's own qemu-ga alone, which runs programs in the guest, and
// measure a second one on a port of its own, as well as a second agent that keeps its keys in memory.
import { Client } from "../../shared/client.ts";
import { connectUnixSocket } from "../../shared/channels/unix-socket.ts";
import { type Guest, startGuest } from "../vm/harness/guest.ts";
import { floorPort } from "../vm/harness/qemu-args.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";

const AGENT_START_TIMEOUT_MS = 60_000;
const tmpfsAgentPort = "org.vmmessage.tmpfs.0";
const qemuGaPort = "org.vmmessage.qemu-ga.0";

export class BenchGuest implements AsyncDisposable {
  readonly guest: Guest;
  readonly #dir: string;

  private constructor(guest: Guest, dir: string) {
    this.guest = guest;
    this.#dir = dir;
  }

  /** With an agent that keeps its keys on ext4. Returns when it answers. @param qemuArgs further ones */
  static async start(qemuArgs: readonly string[] = []): Promise<BenchGuest> {
    const dir = await createTemporaryDirectory();
    const ports = [tmpfsAgentPort, qemuGaPort].flatMap((name) => {
      const chardev = `socket,id=${name},path=${dir}/${name},server=on,wait=off`;
      return ["-chardev", chardev, "-device", `virtserialport,chardev=${name},name=${name},id=p_${name}`];
    });
    const guest = await startGuest({ agent: [], memoryMb: 384, qemuArgs: [...ports, ...qemuArgs] });
    await untilAgentAnswers(guest.channelPath);
    return new BenchGuest(guest, dir);
  }

  /** Starts a second agent, which keeps its keys on tmpfs; the path of its channel's socket here. */
  async startTmpfsAgent(): Promise<string> {
    const places = ["--state-dir", "/mnt/tmpfs/state", "--run-dir", "/run/tmpfs-agent"];
    await this.guest.qga.spawn(["agent", "run", "-d", "0", "--channel", `virtio:${tmpfsAgentPort}`, ...places]);
    const path = `${this.#dir}/${tmpfsAgentPort}`;
    await untilAgentAnswers(path);
    return path;
  }

  /** Starts another qemu-ga. What it is sent before it is ready waits for it. */
  async startQemuGa(): Promise<{ path: string; pid: number }> {
    const state = "/run/bench-qemu-ga";
    await this.guest.shell(`mkdir ${state}`);
    const device = await this.#deviceOf(qemuGaPort);
    const pid = await this.guest.qga.spawn(["qemu-ga", "-m", "virtio-serial", "-p", device, "-t", state]);
    return { path: `${this.#dir}/${qemuGaPort}`, pid };
  }

  /** Starts the C echo; the path of its port's socket here. */
  async startEcho(): Promise<string> {
    await this.guest.qga.spawn(["port-echo", await this.#deviceOf(floorPort)]);
    return this.guest.floorPath;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest.stop();
    await removeTemporaryDirectory(this.#dir);
  }

  async #deviceOf(port: string): Promise<string> {
    const device = await this.guest.findPort(port);
    if (device === undefined) throw new Error(`the guest has no port ${port}`);
    return device;
  }
}

export async function untilAgentAnswers(path: string): Promise<void> {
  const client = new Client(await connectUnixSocket(path), { role: "host", timeoutMs: AGENT_START_TIMEOUT_MS });
  try {
    await client.hello();
  } finally {
    await client.close();
  }
}
