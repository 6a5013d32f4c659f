import { join } from "node:path";

export const projectRoot = join(import.meta.dirname, "..", "..", "..", "..");
/** The programs and scripts that run inside the guest. */
export const guestSources = join(import.meta.dirname, "..", "guest");
