// The Debian packages that have what packages are made with.
import { command, ensureInstalled, isAccessible, type Log } from "../scripts/system-packages.ts";

const requirements = [
  command("strip", "binutils"),
  command("icupkg", "icu-devtools"),
  command("dpkg-buildpackage", "dpkg-dev"),
  { name: "debhelper", debianPackage: "debhelper", isPresent: () => isAccessible("/usr/bin/dh_installsystemd") },
  command("rpmbuild", "rpm"),
];

/** Installs what is missing, as root; otherwise the error names it. */
export async function ensurePackagingTools(log: Log): Promise<void> {
  await ensureInstalled("the packages", requirements, log);
}
