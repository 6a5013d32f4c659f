/** The VMs that a file names: `{"vms": [{"name": "web1", "uuid": "...", "socket": "/run/vms/web1.sock"}]}`. */
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import * as z from "zod/mini";
import { pause } from "../../shared/abort.ts";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import type { VmRef } from "../../shared/api/schemas.ts";
import { describeIssues, shortText } from "../../shared/protocol/message.ts";
import { parseCoordinates } from "../sinks/notify-coordinates.ts";
import { type Vm, vmRef } from "../vms/vm.ts";
import { FolderWatch } from "./folder-watch.ts";
import { inParallel } from "../in-parallel.ts";
import type { InventorySink, InventorySource } from "./source.ts";
import { readUuid, socketUuid } from "./uuid.ts";
import { WakeUp } from "../wake-up.ts";

/** The folders are looked at so often, whatever their watches say. */
const RESCAN_MS = 5_000;

/** Several changes at once are looked at together. */
const SETTLE_MS = 50;

/** Some ten thousand VMs. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** A socket's path is at most so long (unix(7), with the zero at its end). */
const MAX_SOCKET_PATH_BYTES = 107;

/** Folders looked at at a time; Node has four threads for files. */
const MAX_LOOKS = 4;

/** Of one VM. Not measured. */
const MAX_NOTIFY = 10;

/** As of those that come by the API. */
const MAX_COORDINATES_LENGTH = 2_048;

/** They have a password in them: what is wrong with one never says what it is. */
const coordinates = z.string().check(
  z.maxLength(MAX_COORDINATES_LENGTH),
  z.check<string>((context) => {
    const message = coordinatesProblem(context.value);
    if (message !== undefined) context.issues.push({ code: "custom", message, input: undefined });
  }),
);

const entry = z.strictObject({
  name: z.string().check(z.minLength(1), z.maxLength(255)),
  uuid: z.optional(
    z.string().check(z.refine((text) => readUuid(text) !== undefined, "is not a UUID such as 2a0c5dc1-...")),
  ),
  socket: z.string().check(
    z.refine(isAbsolute, "is not an absolute path"),
    z.refine((path) => !path.includes("\0"), "is not a path"),
    z.refine(
      (path) => Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES,
      `is longer than the ${MAX_SOCKET_PATH_BYTES} bytes that a socket's path may have`,
    ),
  ),
  notify: z._default(z.array(coordinates).check(z.maxLength(MAX_NOTIFY)), []),
  vmId: z.optional(shortText.check(z.minLength(1))),
});
const document = z.strictObject({ vms: z.array(entry) });

function coordinatesProblem(text: string): string | undefined {
  try {
    parseCoordinates(text);
    return undefined;
  } catch (error) {
    if (error instanceof CommandError) return error.message;
    throw error;
  }
}

/** A VM as the file names it. */
export interface StaticVm {
  id: string;
  name: string;
  socket: string;
}

/** That a VM's states be told to a broker's queue, as StratusLab does. Its coordinates are secret. */
export interface NotifyWish {
  vm: VmRef;
  /** `host,vhost,user,password,queue` */
  coordinates: string;
  /** What the messages call the VM; undefined for its name. */
  vmId: string | undefined;
}

export type StaticFileContent =
  { type: "read"; vms: StaticVm[]; wishes: NotifyWish[] } | { type: "wrong"; problem: string };

/** What the file says, or what is wrong with it. A VM without a UUID gets one from its socket's path. */
export function parseStaticFile(text: string, host: string): StaticFileContent {
  const json = parseJson(text);
  if (json === undefined) return { type: "wrong", problem: "it is not JSON" };
  const parsed = document.safeParse(json);
  if (!parsed.success) return { type: "wrong", problem: describeIssues(parsed.error) };
  const read = parsed.data.vms.map(({ name, uuid, socket, notify, vmId }) => {
    const path = resolve(socket);
    const vm = { id: readUuid(uuid ?? "") ?? socketUuid(host, path), name, socket: path };
    return { vm, wishes: notify.map((text) => ({ vm: vmRef(vm), coordinates: text, vmId })) };
  });
  const vms = read.map(({ vm }) => vm);
  const [problem] = [...repeated(vms, "id", "the UUID"), ...repeated(vms, "socket", "the socket")];
  if (problem !== undefined) return { type: "wrong", problem };
  return { type: "read", vms, wishes: read.flatMap(({ wishes }) => wishes) };
}

export interface StaticFileOptions {
  path: string;
  /** This machine's name. */
  host: string;
  /** All that the file wishes, each time that it was read. */
  onNotify?: ((wishes: readonly NotifyWish[]) => void) | undefined;
}

/** A VM counts as Running while its socket is there: the file knows nothing more of it. */
export class StaticFileSource implements InventorySource {
  readonly name: string;
  readonly #path: string;
  readonly #host: string;
  readonly #onNotify: StaticFileOptions["onNotify"];

  constructor({ path, host, onNotify }: StaticFileOptions) {
    this.name = `file ${path}`;
    this.#path = resolve(path);
    this.#host = host;
    this.#onNotify = onNotify;
  }

  /** Settles when aborted. What a broken file said before it was broken stands. */
  async run(sink: InventorySink, signal: AbortSignal): Promise<void> {
    const wakeUp = new WakeUp();
    using watch = new FolderWatch(() => {
      wakeUp.call();
    });
    const teller = new Teller(sink);
    let version: string | undefined;
    let entries: StaticVm[] | undefined;
    while (!signal.aborted) {
      watch.watch(new Set([dirname(this.#path), ...foldersOf(entries ?? [])]));
      try {
        const found = await versionOf(this.#path);
        if (found !== version) {
          const { vms, wishes } = await this.#read();
          entries = vms;
          this.#onNotify?.(wishes);
        }
        version = found;
        sink.disconnected(undefined);
      } catch (error) {
        version = undefined;
        sink.disconnected(failureMessage(error));
      }
      if (entries !== undefined) teller.tell(await this.#describe(entries));
      await wakeUp.wait(RESCAN_MS, signal);
      await pause(SETTLE_MS, signal);
    }
  }

  async probe(): Promise<readonly Vm[]> {
    try {
      const { vms } = await this.#read();
      return await this.#describe(vms);
    } catch (error) {
      if (error instanceof CommandError) throw error;
      throw new CommandError("failed", failureMessage(error), {}, { cause: error });
    }
  }

  async #read(): Promise<{ vms: StaticVm[]; wishes: NotifyWish[] }> {
    const read = parseStaticFile(await readWhole(this.#path), this.#host);
    if (read.type === "read") return read;
    throw new CommandError("usage", `${this.#path}: ${read.problem}`);
  }

  /** One look at each folder, however many sockets it has. */
  async #describe(entries: readonly StaticVm[]): Promise<Vm[]> {
    const folders = [...foldersOf(entries)];
    const sockets = new Set((await inParallel(folders, MAX_LOOKS, socketsIn)).flat());
    return entries.map(({ id, name, socket }) => {
      const isThere = sockets.has(socket);
      const status = isThere ? "Running" : "Stopped";
      return { id, name, status, host: this.#host, channelPath: isThere ? socket : undefined };
    });
  }
}

/** Tells all once, and from then on what is different. */
class Teller {
  readonly #sink: InventorySink;
  #told: Map<string, Vm> | undefined;

  constructor(sink: InventorySink) {
    this.#sink = sink;
  }

  tell(vms: readonly Vm[]): void {
    const before = this.#told;
    this.#told = new Map(vms.map((vm) => [vm.id, vm]));
    if (before === undefined) {
      this.#sink.synchronized(vms);
      return;
    }
    for (const id of before.keys()) if (!this.#told.has(id)) this.#sink.removed(id);
    for (const vm of vms) if (!isSame(vm, before.get(vm.id))) this.#sink.changed(vm);
  }
}

function isSame(vm: Vm, before: Vm | undefined): boolean {
  return vm.name === before?.name && vm.status === before.status && vm.channelPath === before.channelPath;
}

function foldersOf(entries: readonly StaticVm[]): Set<string> {
  return new Set(entries.map(({ socket }) => dirname(socket)));
}

/** A link counts as what it leads to. */
async function socketsIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const sockets: string[] = [];
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isSocket() || (entry.isSymbolicLink() && (await leadsToSocket(path)))) sockets.push(path);
  }
  return sockets;
}

async function leadsToSocket(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isSocket(),
    () => false,
  );
}

/** Changes when the file is written to, and when another takes its place. */
async function versionOf(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

async function readWhole(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > MAX_FILE_BYTES) throw new CommandError("usage", `${path} has more than ${MAX_FILE_BYTES} bytes`);
  return readFile(path, "utf8");
}

function failureMessage(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!("path" in error)) return error.message;
  const reasons: Record<string, string> = { ENOENT: "does not exist", EACCES: "may not be read" };
  return `${String(error.path)} ${reasons[systemCode(error) ?? ""] ?? `cannot be read: ${error.message}`}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function repeated(vms: readonly StaticVm[], property: "id" | "socket", inWords: string): string[] {
  const first = new Map<string, number>();
  return vms.flatMap((vm, index) => {
    const earlier = first.get(vm[property]);
    if (earlier === undefined) first.set(vm[property], index);
    return earlier === undefined ? [] : [`vms[${index}] has ${inWords} of vms[${earlier}], ${vm[property]}`];
  });
}
