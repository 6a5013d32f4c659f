/**
 * A guest that goes from one QEMU to another on the same machine, as it would from host to host. Each QEMU has its own
 * directory and sockets; the disk is the same file, by another name, so that it stays when the first QEMU's directory goes.
 */
import { link } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "./command.ts";
import { Guest } from "./guest.ts";
import { GuestFiles, type Hardware } from "./qemu-args.ts";
import { QmpClient } from "./qmp.ts";
import type { Snapshot } from "./snapshot.ts";
import { createTemporaryDirectory } from "./temporary-directory.ts";
import { waitFor } from "./wait-for.ts";

/**
 * Options of a guest that is to be migrated. The memory is no multiple of 256 KiB: of one that is, QEMU before 9.0 loses
 * what an emulated processor writes during the migration (commit "physmem: Fix migration dirty bitmap coherency with TCG
 * memory access"), and the guest's kernel breaks down on the other side.
 */
export const movable = { qemuArgs: ["-m", `${256 * 1024 + 64}K`] };

/** A guest that is written to takes some rounds: it shall be under way for seconds, not for an instant. */
const bytesPerSecond = 48 * 2 ** 20;
const migrationTimeoutMs = 120_000;

/** A guest of this snapshot, with one more QMP socket at this path, for a manager. */
export async function restoreAt(snapshot: Snapshot, qmpPath: string): Promise<Guest> {
  const files = new GuestFiles(await createTemporaryDirectory());
  await runCommand("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", snapshot.disk, files.overlay]);
  const guest = guestIn(files, snapshot, qmpArgs(qmpPath));
  return openOrRemove(guest, () => guest.resumeFrom(snapshot));
}

/** Boots the machine of a guest that is off, from its disk; its QMP socket for a manager is at this path. */
export async function bootAt(off: Guest, snapshot: Snapshot, qmpPath: string): Promise<Guest> {
  const guest = guestIn(await filesOnDiskOf(off), snapshot, qmpArgs(qmpPath));
  return openOrRemove(guest, () => guest.boot());
}

/**
 * Moves a running guest to a new QEMU, over a Unix socket (QMP `migrate-incoming` and `migrate`). Settles with the new one
 * when the guest goes on there; the old one then stands still, with the status `postmigrate`, till it is ended.
 */
export async function migrate(source: Guest, snapshot: Snapshot, qmpPath: string): Promise<Guest> {
  const target = guestIn(await filesOnDiskOf(source), snapshot, [...qmpArgs(qmpPath), "-incoming", "defer"]);
  return openOrRemove(target, async () => {
    // It counts as started when it has the guest.
    await Promise.all([target.startBoot(), send(source, target)]);
    await target.ready();
  });
}

async function send({ qmp }: Guest, target: Guest): Promise<void> {
  const uri = `unix:${join(target.dir, "migration")}`;
  const taking = await QmpClient.connect(target.monitorPath);
  await taking.execute("migrate-incoming", { uri });
  taking.close();
  await qmp.execute("migrate-set-parameters", { "max-bandwidth": bytesPerSecond });
  await qmp.execute("migrate", { uri });
  await waitFor("the end of the migration", () => isMigrated(qmp), { timeoutMs: migrationTimeoutMs });
}

/** False while it goes on. Throws when it has failed. */
async function isMigrated(qmp: QmpClient): Promise<boolean> {
  const answer = (await qmp.execute("query-migrate")) as { status?: string; "error-desc"?: string };
  if (answer.status === "failed" || answer.status === "cancelled") {
    throw new Error(`the guest was not migrated: ${answer["error-desc"] ?? answer.status}`);
  }
  return answer.status === "completed";
}

function qmpArgs(path: string): string[] {
  return ["-qmp", `unix:${path},server=on,wait=off`];
}

async function filesOnDiskOf({ dir }: Guest): Promise<GuestFiles> {
  const files = new GuestFiles(await createTemporaryDirectory());
  await link(new GuestFiles(dir).overlay, files.overlay);
  return files;
}

function guestIn(files: GuestFiles, { image, hardware, log }: Snapshot, moreArgs: string[]): Guest {
  const machine: Hardware = { ...hardware, qemuArgs: [...hardware.qemuArgs, ...moreArgs] };
  return new Guest(image, machine, files, log);
}

async function openOrRemove(guest: Guest, open: () => Promise<void>): Promise<Guest> {
  try {
    await open();
    return guest;
  } catch (error) {
    await guest.stop();
    throw error;
  }
}
