/** QEMU's own program for images (https://www.qemu.org/docs/master/tools/qemu-img.html). */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import * as z from "zod/mini";
import type { ImageFormat } from "../../shared/api/event-schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { Disk } from "./disk.ts";

/** What it prints here has at most some kilobytes. */
const MAX_OUTPUT_LENGTH = 64 * 1024;

const MAX_MESSAGE_LENGTH = 500;

/** How setpriv says that there is no such program. */
const NOT_FOUND = 127;

const measured = z.object({ required: z.int().check(z.minimum(0)) });

/** Where the result is written: the number of an open file, so that it is that file and no other. */
const TARGET_FD = 3;

/**
 * The disk is in use: QEMU locks the disks of a VM that runs. Asking past the lock (`-U`) would copy a disk that changes.
 */
export class DiskInUseError extends CommandError {
  constructor(disk: Disk, options?: ErrorOptions) {
    super("failed", `the disk ${disk.name} (${disk.path}) is in use by another process; does the VM run?`, {}, options);
  }
}

/**
 * How many bytes a copy of the disk takes at most, with what its backing files have. Of a raw copy too: where the disk is
 * empty it has holes.
 */
export async function measure(disk: Disk, signal: AbortSignal): Promise<number> {
  const args = ["measure", "--output=json", "-f", disk.format, "-O", "qcow2", disk.path];
  const answer = measured.safeParse(JSON.parse(await qemuImg(args, { disk, signal })));
  if (!answer.success) throw new Error("qemu-img measure says nothing of what is required");
  return answer.data.required;
}

export interface Conversion {
  disk: Disk;
  format: ImageFormat;
  /** The open file that the copy is written to. */
  target: number;
  /** In percent. */
  onProgress: (percent: number) => void;
  signal: AbortSignal;
}

/** Copies what the VM sees on the disk: backing files are in the copy. Rejects with the signal's reason when aborted. */
export async function convert({ disk, format, target, onProgress, signal }: Conversion): Promise<void> {
  const args = ["convert", "-p", "-f", disk.format, "-O", format, disk.path, `/proc/self/fd/${TARGET_FD}`];
  const onOutput = (text: string): void => {
    const percent = text.match(/\d+\.\d+(?=\/100%)/g)?.at(-1);
    if (percent !== undefined) onProgress(Number(percent));
  };
  await qemuImg(args, { disk, signal, target, onOutput });
}

interface RunOptions {
  disk: Disk;
  signal: AbortSignal;
  target?: number;
  onOutput?: (text: string) => void;
}

/** It ends with the manager, however that ends: what it still wrote would be nobody's. */
async function qemuImg(args: readonly string[], { disk, signal, target, onOutput }: RunOptions): Promise<string> {
  signal.throwIfAborted();
  const child = spawn("setpriv", ["--pdeathsig=KILL", "qemu-img", ...args], {
    stdio: ["ignore", "pipe", "pipe", target ?? "ignore"],
  });
  const printed = textOf(child.stdout, onOutput);
  const complained = textOf(child.stderr);
  const kill = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill);
  try {
    const [status] = (await once(child, "close")) as [number | null];
    signal.throwIfAborted();
    if (status !== 0) throw qemuImgFailure(disk, status, complained());
    return printed();
  } finally {
    signal.removeEventListener("abort", kill);
  }
}

/** The first part of what is written, when it is asked for. */
function textOf(stream: Readable | null, onText: (text: string) => void = () => undefined): () => string {
  let text = "";
  stream?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk.slice(0, MAX_OUTPUT_LENGTH - text.length);
    onText(chunk);
  });
  return () => text;
}

function qemuImgFailure(disk: Disk, status: number | null, complaint: string): CommandError {
  if (status === NOT_FOUND) {
    return new CommandError("failed", "qemu-img is not installed (Debian: qemu-utils)");
  }
  const said = printable(complaint.trim().replaceAll("\n", "; ").slice(0, MAX_MESSAGE_LENGTH));
  if (/Failed to get .* lock|Is another process using the image/.test(complaint)) {
    return new DiskInUseError(disk, { cause: new Error(said) });
  }
  return new CommandError("failed", `qemu-img: ${said === "" ? `ended with ${status ?? "a signal"}` : said}`);
}
