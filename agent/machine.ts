/** What the agent knows of the machine it runs in: who it is, which boot this is, what time it is. */
import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import type { Moment } from "../shared/protocol/cache.ts";

const UUID_FILE = "/sys/class/dmi/id/product_uuid";
const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";

export interface Machine {
  /** The DMI UUID that the hypervisor gave it, lower case; null where there is none or it may not be read. */
  readonly uuid: string | null;
  /** A new one at each boot of the kernel. */
  readonly bootId: string | null;
  now(): Moment;
}

export function thisMachine(): Machine {
  return {
    uuid: readLine(UUID_FILE)?.toLowerCase() ?? null,
    bootId: readLine(BOOT_ID_FILE),
    now: () => ({ wallMs: Date.now(), uptimeMs: Math.round(uptime() * 1000) }),
  };
}

function readLine(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim() || null;
  } catch {
    return null;
  }
}
