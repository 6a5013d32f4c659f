import { readFile } from "node:fs/promises";
import type { GuestFiles } from "./qemu-args.ts";
import { QemuProcess } from "./qemu-process.ts";
import { QgaClient } from "./qga.ts";
import { QmpClient } from "./qmp.ts";
import { waitFor } from "./wait-for.ts";

const quotedLogBytes = 4000;

/** What exists only while a guest is on. */
export interface Power {
  qemu: QemuProcess;
  qmp: QmpClient;
  qga: QgaClient;
}

export interface TurnOnOptions {
  timeoutMs: number;
  /** False: the guest is left to boot, and `untilReady` waits for it. */
  waitsForBoot?: boolean;
}

/** Starts QEMU and waits until qemu-ga answers; the error quotes what QEMU and the guest's console had to say. */
export async function turnOn(args: string[], files: GuestFiles, options: TurnOnOptions): Promise<Power> {
  const qemu = new QemuProcess(args, files.qemuLog);
  try {
    return await Promise.race([start(qemu, files, options), failAtExit(qemu)]);
  } catch (error) {
    await qemu.kill();
    throw await failedStart(error, files);
  }
}

/** Waits until qemu-ga answers; the error quotes as that of `turnOn`, and the guest stays on. */
export async function untilReady({ qga, qemu }: Power, files: GuestFiles, timeoutMs: number): Promise<void> {
  try {
    await Promise.race([qga.sync(timeoutMs), failAtExit(qemu)]);
  } catch (error) {
    throw await failedStart(error, files);
  }
}

export async function turnOff({ qemu, qmp, qga }: Power): Promise<void> {
  await qemu.kill();
  qmp.close();
  qga.close();
}

async function start(
  qemu: QemuProcess,
  files: GuestFiles,
  { timeoutMs, waitsForBoot = true }: TurnOnOptions,
): Promise<Power> {
  const qmp = await QmpClient.connect(files.socket("qmp"));
  const qga = await QgaClient.connect(files.socket("qga"));
  await startProcessor(qmp, timeoutMs);
  if (waitsForBoot) await qga.sync(timeoutMs);
  // QEMU was told to end at a reset, so that a failing boot is noticed; from here on a guest may reboot
  await qmp.execute("set-action", { reboot: "reset" });
  return { qemu, qmp, qga };
}

/** A restored guest comes up as it was saved: stopped. */
async function startProcessor(qmp: QmpClient, timeoutMs: number): Promise<void> {
  const isLoaded = async () => {
    const { status } = (await qmp.execute("query-status")) as { status: string };
    return status !== "inmigrate";
  };
  await waitFor("the end of loading the saved state", isLoaded, { timeoutMs });
  await qmp.execute("cont");
}

async function failAtExit(qemu: QemuProcess): Promise<never> {
  throw new Error(`QEMU ended with ${await qemu.exited}`);
}

async function failedStart(cause: unknown, files: GuestFiles): Promise<Error> {
  return new Error(`the guest did not start: ${messageOf(cause)}\n${await quoteLogs(files)}`, { cause });
}

async function quoteLogs(files: GuestFiles): Promise<string> {
  return `QEMU said: ${await readEnd(files.qemuLog)}\nthe console said: ${await readEnd(files.consoleLog)}`;
}

async function readEnd(file: string): Promise<string> {
  const content = await readFile(file).catch(() => Buffer.alloc(0));
  return content.length === 0 ? "nothing" : content.subarray(-quotedLogBytes).toString().trim();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
