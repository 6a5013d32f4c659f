import { rename } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../../../scripts/guest-tools.ts";
import type { GuestImage } from "./image/guest-image.ts";
import type { Hardware } from "./qemu-args.ts";
import type { QmpClient } from "./qmp.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "./temporary-directory.ts";
import { waitFor } from "./wait-for.ts";

const migrationTimeoutMs = 60_000;
/** QEMU's default of 128 MiB/s is made for networks. */
const unlimitedBytesPerSecond = 2 ** 40;

/** A guest's memory, devices and disk at one moment. Only ever read, so that it can be restored many times. */
export class Snapshot implements AsyncDisposable {
  readonly image: GuestImage;
  readonly hardware: Hardware;
  readonly log: Log;
  readonly #dir: string;

  private constructor(dir: string, image: GuestImage, hardware: Hardware, log: Log) {
    this.#dir = dir;
    this.image = image;
    this.hardware = hardware;
    this.log = log;
  }

  static async create(image: GuestImage, hardware: Hardware, log: Log): Promise<Snapshot> {
    return new Snapshot(await createTemporaryDirectory(), image, hardware, log);
  }

  /** The file to read with `-incoming`. */
  get memory(): string {
    return join(this.#dir, "memory");
  }
  /** The qcow2 file to put an overlay on. */
  get disk(): string {
    return join(this.#dir, "root.qcow2");
  }

  /** Writes the state of a stopped guest to `memory`. */
  async takeMemory(qmp: QmpClient): Promise<void> {
    await qmp.execute("migrate-set-parameters", { "max-bandwidth": unlimitedBytesPerSecond });
    await qmp.execute("migrate", { uri: `exec:cat > '${this.memory}'` });
    await waitFor("the migration to a file", () => isMigrated(qmp), { timeoutMs: migrationTimeoutMs });
  }

  /** Takes the overlay of a guest that has ended. */
  async takeDisk(overlay: string): Promise<void> {
    await rename(overlay, this.disk);
  }

  async remove(): Promise<void> {
    await removeTemporaryDirectory(this.#dir);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }
}

async function isMigrated(qmp: QmpClient): Promise<boolean> {
  const answer = (await qmp.execute("query-migrate")) as { status?: string; "error-desc"?: string };
  if (answer.status === "failed")
    throw new Error(`QEMU could not save the guest: ${answer["error-desc"] ?? "no reason"}`);
  return answer.status === "completed";
}
