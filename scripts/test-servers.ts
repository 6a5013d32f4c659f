/** Makes sure that this machine has the real servers and clients that the integration tests run. */
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { command, ensureInstalled, isAccessible, type Log, type Requirement } from "./system-packages.ts";

/** Debian's own: the modules of its packages are for this one, whichever comes first on the PATH. */
const PYTHON = "/usr/bin/python3";

/** What packages ask before they start their daemons (Debian Policy, section 9.3.3.1); 101 is no. */
const POLICY_FILE = "/usr/sbin/policy-rc.d";
const POLICY = "#!/bin/sh\nexit 101\n";

const requirements: Requirement[] = [
  command("virsh", "libvirt-clients"),
  command("libvirtd", "libvirt-daemon"),
  { name: "libvirt's driver for QEMU", debianPackage: "libvirt-daemon-driver-qemu", isPresent: hasQemuDriver },
  command("qemu-img", "qemu-utils"),
  command("ssh", "openssh-client"),
  command("curl", "curl"),
  command("openssl", "openssl"),
  program("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
  pythonModule("pika", "python3-pika"),
  pythonModule("aiosmtpd", "python3-aiosmtpd"),
  command("named", "bind9"),
  command("nsupdate", "bind9-dnsutils"),
];

const run = promisify(execFile);

/** Installs what is missing (as root, with apt-get; otherwise the error names it). The tests start daemons of their own. */
export async function ensureTestServers(log: Log): Promise<void> {
  const present = await Promise.all(requirements.map(({ isPresent }) => isPresent()));
  const install = (): Promise<void> => ensureInstalled("the integration tests", requirements, log);
  await (present.includes(false) && process.getuid?.() === 0 ? withoutDaemons(install) : install());
}

/** A policy that the machine has already is left as it is. */
async function withoutDaemons(install: () => Promise<void>): Promise<void> {
  if (await isAccessible(POLICY_FILE)) {
    await install();
    return;
  }
  await writeFile(POLICY_FILE, POLICY, { mode: 0o755, flag: "wx" });
  try {
    await install();
  } finally {
    await rm(POLICY_FILE);
  }
}

function program(path: string, debianPackage: string): Requirement {
  return { name: path, debianPackage, isPresent: () => isAccessible(path, constants.X_OK) };
}

function pythonModule(name: string, debianPackage: string): Requirement {
  const isPresent = (): Promise<boolean> =>
    run(PYTHON, ["-c", `import ${name}`]).then(
      () => true,
      () => false,
    );
  return { name: `Python's ${name}`, debianPackage, isPresent };
}

/** In a folder that is named after the machine's architecture. */
async function hasQemuDriver(): Promise<boolean> {
  for (const folder of await readdir("/usr/lib")) {
    if (await isAccessible(join("/usr/lib", folder, "libvirt/connection-driver/libvirt_driver_qemu.so"))) return true;
  }
  return false;
}
