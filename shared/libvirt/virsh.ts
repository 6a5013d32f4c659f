/**
 * Asks libvirt through its own client, `virsh`. What it prints is read in its own English: a program that calls this has
 * LC_ALL=C in its environment (its main.ts).
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { CommandError, Interruption, systemCode } from "../cli/failure.ts";

/** A domain's XML is some ten kilobytes; one with a thousand disks is still below this, and so are twenty ordinary ones. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

const MAX_MESSAGE_LENGTH = 500;

const run = promisify(execFile);

export interface VirshOptions {
  /** Undefined is virsh's own default. */
  uri: string | undefined;
  signal: AbortSignal;
  /** For the details of a failure. */
  details?: Record<string, unknown>;
}

/** There is no virsh on this machine. */
export class VirshMissingError extends CommandError {
  constructor(details: Record<string, unknown>, options: ErrorOptions) {
    super("failed", "virsh is not installed; install libvirt's clients (Debian: libvirt-clients)", details, options);
  }
}

/**
 * Runs virsh to its end and answers what it printed. Throws CommandError: VirshMissingError, `unreachable` when the signal
 * came first or libvirt is not there, `not-permitted`, or `failed` for a domain that is not known. An Interruption that
 * ended it is thrown as it is.
 */
export async function virsh(args: readonly string[], { uri, signal, details = {} }: VirshOptions): Promise<string> {
  try {
    const { stdout } = await run("virsh", [...connectTo(uri), ...args], { maxBuffer: MAX_OUTPUT_BYTES, signal });
    return stdout;
  } catch (error) {
    if (signal.reason instanceof Interruption) throw signal.reason;
    throw virshFailure(error, signal, details);
  }
}

/** The options that name the connection. */
export function connectTo(uri: string | undefined): string[] {
  return uri === undefined ? [] : [`--connect=${uri}`];
}

function virshFailure(error: unknown, signal: AbortSignal, details: Record<string, unknown>): CommandError {
  if (signal.aborted) {
    return new CommandError("unreachable", "libvirt did not answer in time; does 'virsh list' work?", details);
  }
  if (systemCode(error) === "ENOENT") return new VirshMissingError(details, { cause: error });
  const said = virshMessage(error instanceof Error && "stderr" in error ? String(error.stderr) : String(error));
  return new CommandError(codeFor(said), `libvirt: ${said}`, details, { cause: error });
}

/** What virsh wrote to stderr, in a sentence: the last `error: ...` line is the one with the cause. */
export function virshMessage(stderr: string): string {
  const lines = [...stderr.matchAll(/^error: (.+)$/gm)].map(([, text = ""]) => text);
  return (lines.at(-1) ?? stderr.trim()).slice(0, MAX_MESSAGE_LENGTH);
}

/** How libvirt begins what it says of a request that it understood and does not carry out (its src/util/virerror.c). */
const REFUSED =
  /^(?:requested operation is not valid|operation not supported|operation failed|unsupported configuration|this function is not supported|invalid argument|XML error|internal error: (?!client socket is closed))/i;

function codeFor(said: string): CommandError["code"] {
  if (/domain not found|failed to get domain/i.test(said)) return "failed";
  if (/permission denied|authentication|^operation forbidden|^access denied/i.test(said)) return "not-permitted";
  return REFUSED.test(said) ? "failed" : "unreachable";
}
