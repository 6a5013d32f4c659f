/** What QMP tells of one VM: who it is, what it does, where its channels are. */
import { basename, extname } from "node:path";
import * as z from "zod/mini";
import { CHANNEL_NAME } from "../../shared/channel-name.ts";
import type { VmStatus } from "../../shared/vm-status.ts";
import { RemoteProtocolError } from "../../shared/protocol/errors.ts";
import type { GuestAgent } from "../vms/vm.ts";
import type { QmpClient, QmpEvent } from "./qmp.ts";
import { readUuid, socketUuid } from "./uuid.ts";

const nameAnswer = z.object({ name: z.optional(z.string()) });
const uuidAnswer = z.object({ UUID: z.string() });
const statusAnswer = z.object({ status: z.string() });
const textAnswer = z.string();
const members = z.array(z.object({ name: z.string(), type: z.string() }));
const chardevs = z.array(z.object({ label: z.string(), filename: z.string(), "frontend-open": z.boolean() }));

/** Where QEMU keeps the devices that were given an id, and those that were not. */
const WITH_ID = "/machine/peripheral";
const WITHOUT_ID = "/machine/peripheral-anon";

/** More ports than a VM has; a virtio-serial device has 31. */
const MAX_PORTS = 256;

/** QEMU's `RunState`. */
const STATUS = new Map<string, VmStatus>([
  ["running", "Running"],
  ["suspended", "Suspended"],
  ["shutdown", "Stopped"],
  ["guest-panicked", "Crashed"],
  ["internal-error", "Crashed"],
]);

/** The reasons of a SHUTDOWN (`ShutdownCause`) that nobody wished for. */
const FAILURES = ["guest-panic", "host-error"];

export interface Identity {
  id: string;
  name: string;
}

export interface Chardev {
  label: string;
  /** Where it listens; undefined when it is something else than a listening Unix socket with an absolute path. */
  socketPath: string | undefined;
  /** Whether its device has it open: of a port, something in the guest. */
  isOpen: boolean;
}

/** A virtio-serial port and what is behind it. */
export interface QmpPort {
  /** What the guest knows it by: that of a channel is {@link CHANNEL_NAME}. */
  name: string;
  /** VSERPORT_CHANGE names it. A port without one sends none. */
  deviceId: string | undefined;
  socketPath: string | undefined;
  isOpenInGuest: boolean;
}

/** A VM without a name is called as its socket is; one without a UUID gets one from the socket's path. */
export async function readIdentity(qmp: QmpClient, path: string, host: string): Promise<Identity> {
  const { name } = await ask(qmp, nameAnswer, "query-name");
  const { UUID } = await ask(qmp, uuidAnswer, "query-uuid");
  return { id: readUuid(UUID) ?? socketUuid(host, path), name: name ?? basename(path, extname(path)) };
}

/** All of QEMU's other states are of a VM that stands still with its memory: paused, or being saved, loaded or moved. */
export async function readStatus(qmp: QmpClient): Promise<VmStatus> {
  const { status } = await ask(qmp, statusAnswer, "query-status");
  return STATUS.get(status) ?? "Paused";
}

/** How a VM ended whose QEMU is gone. `shutdown` is the event that announced it: without one, QEMU was killed or crashed. */
export function endStatus(shutdown: QmpEvent | undefined): VmStatus {
  if (shutdown === undefined) return "Crashed";
  return FAILURES.some((reason) => reason === shutdown.data["reason"]) ? "Crashed" : "Stopped";
}

/** Everything that QEMU carries bytes to: its ports' sockets, and its monitors'. */
export async function readChardevs(qmp: QmpClient): Promise<Chardev[]> {
  const answered = await ask(qmp, chardevs, "query-chardev");
  return answered.map(({ label, filename, "frontend-open": isOpen }) => {
    return { label, socketPath: listeningPath(filename), isOpen };
  });
}

/** All ports, those with an id first. */
export async function readPorts(qmp: QmpClient, chardevs: readonly Chardev[]): Promise<QmpPort[]> {
  const ports: QmpPort[] = [];
  for (const folder of [WITH_ID, WITHOUT_ID]) {
    for (const device of await portsIn(qmp, folder)) {
      const path = `${folder}/${device}`;
      const name = await readText(qmp, path, "name");
      const label = await readText(qmp, path, "chardev");
      const { socketPath, isOpen = false } = chardevs.find((chardev) => chardev.label === label) ?? {};
      ports.push({ name, deviceId: folder === WITH_ID ? device : undefined, socketPath, isOpenInGuest: isOpen });
    }
  }
  return ports;
}

/** Whether something in the guest has the port open. Without an id nothing tells when that changes. */
export function isOpenInGuest({ deviceId, isOpenInGuest }: QmpPort): boolean | undefined {
  return deviceId === undefined ? undefined : isOpenInGuest;
}

/** How qemu-ga is reached; undefined when its port is missing, or leads to no listening Unix socket. */
export function qmpGuestAgent(port: QmpPort | undefined): GuestAgent | undefined {
  if (port?.socketPath === undefined) return undefined;
  return { via: "socket", path: port.socketPath, isOpenInGuest: isOpenInGuest(port) };
}

/** Why the VM `name`, which runs, cannot be spoken to, and what to add to QEMU's command line. */
export function qmpChannelProblem(name: string, channel: QmpPort | undefined): string | undefined {
  if (channel?.socketPath !== undefined) return undefined;
  const chardev = "-chardev socket,id=vmmessage,path=/ABSOLUTE/PATH,server=on,wait=off";
  if (channel !== undefined) {
    return `the chardev of the port ${CHANNEL_NAME} of '${name}' is no listening Unix socket with an absolute path; it has to be ${chardev}`;
  }
  const device = `-device virtio-serial -device virtserialport,chardev=vmmessage,name=${CHANNEL_NAME},id=vmmessage0`;
  return `the VM '${name}' has no port named ${CHANNEL_NAME}; start QEMU with ${chardev} ${device}`;
}

async function portsIn(qmp: QmpClient, folder: string): Promise<string[]> {
  const found = await ask(qmp, members, "qom-list", { path: folder });
  const ports = found.filter(({ type }) => type === "child<virtserialport>");
  return ports.slice(0, MAX_PORTS).map(({ name }) => name);
}

function readText(qmp: QmpClient, path: string, property: string): Promise<string> {
  return ask(qmp, textAnswer, "qom-get", { path, property });
}

/** Of `unix:/run/web1.sock,server=on`, with `disconnected:` before it while no client is there. */
export function listeningPath(filename: string): string | undefined {
  return /^(?:disconnected:)?unix:(\/.*),server(?:=on)?$/s.exec(filename)?.[1];
}

async function ask<T extends z.ZodMiniType>(
  qmp: QmpClient,
  schema: T,
  command: string,
  args?: Record<string, unknown>,
): Promise<z.infer<T>> {
  const answer = schema.safeParse(await qmp.execute(command, args));
  if (!answer.success) throw new RemoteProtocolError(`QEMU's answer to ${command} is not what QMP says it is`);
  return answer.data;
}
