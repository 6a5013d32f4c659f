/** Follows the QEMU behind one QMP socket, from its greeting to its end. */
import { CHANNEL_NAME, GUEST_AGENT_CHANNEL_NAME } from "../../shared/channel-name.ts";
import { systemCode } from "../../shared/cli/failure.ts";
import type { VmStatus } from "../../shared/vm-status.ts";
import type { Vm } from "../vms/vm.ts";
import { QmpClient, QmpClosedError, type QmpEvent } from "./qmp.ts";
import {
  endStatus,
  type Identity,
  isOpenInGuest,
  qmpChannelProblem,
  qmpGuestAgent,
  type QmpPort,
  readChardevs,
  readIdentity,
  readPorts,
  readStatus,
} from "./qmp-vm.ts";
import { WakeUp } from "../wake-up.ts";

/** A QEMU that nobody else is connected to greets in milliseconds. */
const GREETING_TIMEOUT_MS = 5_000;

/** What may have changed the status: QEMU is asked for it then. */
const STATUS_EVENTS = [
  "STOP",
  "RESUME",
  "RESET",
  "SUSPEND",
  "SUSPEND_DISK",
  "WAKEUP",
  "POWERDOWN",
  "SHUTDOWN",
  "GUEST_PANICKED",
];

/** The longest that a timer of Node's can be. */
const NEVER_MS = 2 ** 31 - 1;

export interface FollowerOptions {
  path: string;
  /** This machine's name. */
  host: string;
  onVm: (vm: Vm) => void;
  /** Why nothing can be learnt of it; undefined when all is well, or nobody listens there. */
  onTrouble: (reason: string | undefined) => void;
  /** The sockets on which this QEMU listens, its own QMP socket among them. */
  onSockets: (paths: readonly string[]) => void;
  onEvent: (event: QmpEvent, vm: Identity | undefined) => void;
}

export class QmpFollower {
  readonly #options: FollowerOptions;
  readonly #wakeUp = new WakeUp();
  #identity: Identity | undefined;
  #status: VmStatus = "Unknown";
  /** Empty while they are read: what changes meanwhile has them read again. */
  #ports: QmpPort[] = [];
  /** A port was plugged in or taken out since they were read. */
  #arePortsStale = false;
  /** The last one, unless the VM went on after it. */
  #shutdown: QmpEvent | undefined;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Settles when there is nothing to follow (any more), or when aborted; what went wrong was told. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { path, onTrouble } = this.#options;
    try {
      await using qmp = await this.#connect(signal);
      await this.#describe(qmp);
      onTrouble(undefined);
      await this.#keepFresh(qmp, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof QmpClosedError) this.#end();
      onTrouble(hasEnded(error) ? undefined : `${path}: ${connectionProblem(error)}`);
    }
  }

  async #connect(signal: AbortSignal): Promise<QmpClient> {
    const { path, onTrouble } = this.#options;
    const timer = setTimeout(() => {
      const seen = `no greeting within ${GREETING_TIMEOUT_MS / 1000} s`;
      onTrouble(
        `${path}: ${seen}; another client has this QMP socket, or QEMU hangs: give the manager a socket of its own`,
      );
    }, GREETING_TIMEOUT_MS);
    try {
      return await QmpClient.connect(path, {
        signal,
        onEvent: (event) => {
          this.#note(event);
        },
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async #describe(qmp: QmpClient): Promise<void> {
    this.#identity = await readIdentity(qmp, this.#options.path, this.#options.host);
    await this.#readPorts(qmp);
    this.#status = await readStatus(qmp);
    this.#tell();
  }

  async #readPorts(qmp: QmpClient): Promise<void> {
    this.#ports = [];
    this.#arePortsStale = false;
    const chardevs = await readChardevs(qmp);
    this.#options.onSockets(chardevs.flatMap(({ socketPath }) => socketPath ?? []));
    this.#ports = await readPorts(qmp, chardevs);
  }

  #portNamed(wanted: string): QmpPort | undefined {
    return this.#ports.find(({ name }) => name === wanted);
  }

  /** QEMU is asked for the status, not the events believed: however many come, one question is under way. */
  async #keepFresh(qmp: QmpClient, signal: AbortSignal): Promise<void> {
    void qmp.ended.then(() => {
      this.#wakeUp.call();
    });
    for (;;) {
      await this.#wakeUp.wait(NEVER_MS, signal);
      if (signal.aborted) return;
      this.#status = await readStatus(qmp);
      if (this.#arePortsStale || this.#portNamed(CHANNEL_NAME) === undefined) await this.#readPorts(qmp);
      this.#tell();
    }
  }

  #end(): void {
    this.#status = endStatus(this.#shutdown);
    this.#tell();
  }

  #note(event: QmpEvent): void {
    this.#options.onEvent(event, this.#identity);
    if (event.name === "SHUTDOWN") this.#shutdown = event;
    if (event.name === "RESUME" || event.name === "RESET") this.#shutdown = undefined;
    if (event.name === "VSERPORT_CHANGE") this.#notePort(event.data);
    if (event.name === "DEVICE_DELETED") this.#readPortsAgain();
    if (STATUS_EVENTS.includes(event.name)) this.#wakeUp.call();
  }

  #notePort({ id, open }: Record<string, unknown>): void {
    const port = this.#ports.find(({ deviceId }) => deviceId !== undefined && deviceId === id);
    if (port === undefined) {
      this.#readPortsAgain();
    } else if (typeof open === "boolean") {
      port.isOpenInGuest = open;
      if (port.name === CHANNEL_NAME || port.name === GUEST_AGENT_CHANNEL_NAME) this.#tell();
    }
  }

  #readPortsAgain(): void {
    this.#arePortsStale = true;
    this.#wakeUp.call();
  }

  #tell(): void {
    if (this.#identity === undefined || this.#status === "Unknown") return;
    const { host, onVm } = this.#options;
    const vm = { ...this.#identity, host, status: this.#status };
    if (this.#status === "Stopped" || this.#status === "Crashed") {
      onVm({ ...vm, channelPath: undefined });
      return;
    }
    const channel = this.#portNamed(CHANNEL_NAME);
    onVm({
      ...vm,
      channelPath: channel?.socketPath,
      isOpenInGuest: channel && isOpenInGuest(channel),
      guestAgent: qmpGuestAgent(this.#portNamed(GUEST_AGENT_CHANNEL_NAME)),
      problem: qmpChannelProblem(vm.name, channel),
    });
  }
}

/** The socket of a QEMU that was killed stays behind. */
function hasEnded(error: unknown): boolean {
  return error instanceof QmpClosedError || ["ENOENT", "ECONNREFUSED"].includes(systemCode(error) ?? "");
}

function connectionProblem(error: unknown): string {
  switch (systemCode(error)) {
    case "EACCES":
      return "not permitted to connect; QMP sockets are for root and QEMU's user";
    case "EAGAIN":
      return "other clients wait for this QMP socket; give the manager a socket of its own";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
