/**
 * Asks libvirt for a VM through its own client, `virsh`: its state and the socket of its channel. What virsh prints is
 * read in its own English: the program's environment says LC_ALL=C (main.ts).
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { CommandError, Interruption, systemCode, usageError } from "../../shared/cli/failure.ts";
import { CHANNEL_NAME } from "../../shared/channel-name.ts";
import { type DomainChannel, readDomain } from "../../shared/libvirt/domain-xml.ts";
import type { FoundVm } from "./find-vm.ts";

/** A domain's XML is some ten kilobytes; one with a thousand disks is still below this. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

/** virsh's words for the states (`virDomainState`), and the transcript's. */
const STATUS: Record<string, FoundVm["status"]> = {
  running: "Running",
  idle: "Running",
  blocked: "Running",
  "in shutdown": "Running",
  paused: "Paused",
  "shut off": "Stopped",
  crashed: "Crashed",
  pmsuspended: "Suspended",
};

/** The XML that gives a VM its channel. */
const CHANNEL_XML = `<channel type='unix'><target type='virtio' name='${CHANNEL_NAME}'/></channel>`;

const run = promisify(execFile);

/** Throws CommandError when libvirt cannot be asked, or does not know the VM, or the VM has no channel of ours. */
export async function findInLibvirt(name: string, uri: string | undefined, signal: AbortSignal): Promise<FoundVm> {
  const ask = (subcommand: string): Promise<string> => virsh(subcommand, { name, uri, signal });
  const [state, xml] = await Promise.all([ask("domstate"), ask("dumpxml")]);
  const domain = readDomain(xml, CHANNEL_NAME);
  if (domain === undefined) {
    throw new CommandError("failed", `virsh dumpxml '${name}' printed no domain; does 'virsh list' work?`, {
      vm: name,
    });
  }
  // virsh takes a name that is a number for the id of another domain.
  if (domain.name !== name && domain.uuid !== name) {
    throw new CommandError("failed", `libvirt took '${name}' for the VM '${domain.name}'; name it by its UUID`, {
      vm: name,
    });
  }
  const status = STATUS[state.trim()] ?? "Unknown";
  const foundIn = uri === undefined ? "libvirt" : `libvirt at ${uri}`;
  if (status !== "Running") return { name, status, socketPath: domain.channel?.socketPath, foundIn };
  return { name, status, foundIn, ...reachable(name, domain.channel) };
}

function reachable(name: string, channel: DomainChannel | undefined): Pick<FoundVm, "socketPath" | "isOpenInGuest"> {
  if (channel === undefined) {
    const remedy = `add ${CHANNEL_XML} to its devices (virsh edit), then stop and start it`;
    throw new CommandError("failed", `the VM '${name}' has no channel named ${CHANNEL_NAME}; ${remedy}`, { vm: name });
  }
  if (channel.type !== "unix" || channel.socketPath === undefined) {
    const saw = channel.type === "unix" ? "no socket" : `the type '${channel.type}'`;
    const problem = `the channel ${CHANNEL_NAME} of '${name}' has ${saw}; it has to be ${CHANNEL_XML}`;
    throw new CommandError("failed", problem, { vm: name });
  }
  return {
    socketPath: channel.socketPath,
    isOpenInGuest: channel.state === undefined ? undefined : channel.state === "connected",
  };
}

async function virsh(
  subcommand: string,
  { name, uri, signal }: { name: string; uri: string | undefined; signal: AbortSignal },
): Promise<string> {
  const connect = uri === undefined ? [] : [`--connect=${uri}`];
  try {
    const { stdout } = await run("virsh", [...connect, subcommand, `--domain=${name}`], {
      maxBuffer: MAX_OUTPUT_BYTES,
      signal,
    });
    return stdout;
  } catch (error) {
    throw virshFailure(error, name, signal);
  }
}

function virshFailure(error: unknown, name: string, signal: AbortSignal): unknown {
  if (signal.reason instanceof Interruption) return signal.reason;
  if (signal.aborted) {
    return new CommandError("unreachable", "libvirt did not answer in time; does 'virsh list' work?", { vm: name });
  }
  if (systemCode(error) === "ENOENT") {
    return usageError(
      `cannot tell where '${name}' has its channel: name the socket with --socket PATH, or a directory of sockets ` +
        "with --socket-dir DIR (or VMMESSAGE_SOCKET_DIR), or install libvirt's virsh",
    );
  }
  const said = virshMessage(error);
  return new CommandError(codeFor(said), `libvirt: ${said}`, { vm: name }, { cause: error });
}

/** The last `error: ...` line is the one with the cause. */
function virshMessage(error: unknown): string {
  const stderr = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
  const lines = [...stderr.matchAll(/^error: (.+)$/gm)].map(([, text = ""]) => text);
  return lines.at(-1) ?? stderr.trim().slice(0, 500);
}

function codeFor(said: string): CommandError["code"] {
  if (/domain not found|failed to get domain/i.test(said)) return "failed";
  if (/permission denied|authentication/i.test(said)) return "not-permitted";
  return "unreachable";
}
