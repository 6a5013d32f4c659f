import { basename, join } from "node:path";
import { runCommand } from "../command.ts";

const guestLibraryDir = "usr/lib/x86_64-linux-gnu";
const guestLoader = "usr/lib64/ld-linux-x86-64.so.2";

/** Finds what the programs load: path in the guest -> file on this machine. Looks in `extraDir` first. */
export async function librariesOf(programs: string[], extraDir: string): Promise<Map<string, string>> {
  const libraries = new Map<string, string>();
  for (const program of programs) {
    const listing = await runCommand("ldd", [program], { LD_LIBRARY_PATH: extraDir });
    const missing = /^\s*(\S+) => not found/m.exec(listing)?.[1];
    if (missing !== undefined) throw new Error(`${program} needs ${missing}, which this machine does not have`);
    for (const [, file = ""] of listing.matchAll(/(\/\S+) \(0x/g)) libraries.set(pathInGuest(file), file);
  }
  return libraries;
}

function pathInGuest(file: string): string {
  return basename(file).startsWith("ld-linux") ? guestLoader : join(guestLibraryDir, basename(file));
}
