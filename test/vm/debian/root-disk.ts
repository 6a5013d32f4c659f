// A Debian's /dev/vda: the packages' files, Node, and our units as packages would install them, none of them enabled.
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { runCommand } from "../harness/command.ts";
import { cachedFile } from "../../../scripts/cached-file.ts";
import { projectRoot } from "../harness/image/paths.ts";
import { strippedNode } from "../harness/image/root-disk.ts";
import { type Entry, hashTree, type Tree, writeTree } from "../harness/image/tree.ts";

export const packagedUnits = join(projectRoot, "packaging", "systemd");

/** What of packaging/ goes where, as it is. */
const packagedFolders = {
  systemd: "usr/lib/systemd/system",
  udev: "usr/lib/udev/rules.d",
  sysusers: "usr/lib/sysusers.d",
  tmpfiles: "usr/lib/tmpfiles.d",
};

/** As mke2fs reads it; the file is sparse. */
const size = "2G";

/** What a guest for tests does without: an emulated processor spends seconds on them at every boot. */
const maskedUnits = [
  ...["getty@tty1.service", "serial-getty@ttyS0.service", "systemd-logind.service"],
  ...["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"],
  ...["e2scrub_reap.service", "systemd-pstore.service", "systemd-binfmt.service", "systemd-firstboot.service"],
  ...["systemd-journal-flush.service", "systemd-random-seed.service", "systemd-hwdb-update.service"],
  ...["systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-udev-settle.service"],
  ...["systemd-ask-password-console.path", "systemd-ask-password-wall.path", "remote-fs.target"],
  ...["proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-config.mount"],
  ...["sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount"],
  ...["configfs", "drm", "fuse", "efi_pstore", "dm_mod", "loop"].map((module) => `modprobe@${module}.service`),
];

const sshKey = "/etc/ssh/ssh_host_ed25519_key";

const texts = {
  "etc/hostname": "debian\n",
  "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost\n",
  "etc/resolv.conf": "",
  "etc/systemd/journald.conf.d/volatile.conf": "[Journal]\nStorage=volatile\n",
  // one kind of key, made at the first start; and no check of a configuration that is Debian's
  "etc/ssh/sshd_config.d/host-key.conf": `HostKey ${sshKey}\n`,
  ...dropIn("ssh", [
    "ExecStartPre=",
    `ExecStartPre=sh -c "test -e ${sshKey} || ssh-keygen -qt ed25519 -N '' -f ${sshKey}"`,
  ]),
  ...dropIn("nginx", ["ExecStartPre="]),
  // of all devices only those that a unit here waits for
  ...dropIn("systemd-udev-trigger", [
    "ExecStart=",
    "ExecStart=-udevadm trigger --action=add --subsystem-match=block --subsystem-match=virtio-ports",
  ]),
  // it tells the journal of every request, of which the harness makes fifty a second
  ...dropIn("qemu-guest-agent", ["StandardOutput=null", "StandardError=null"]),
};

function dropIn(service: string, lines: string[]): Record<string, string> {
  return { [`etc/systemd/system/${service}.service.d/test.conf`]: ["[Service]", ...lines, ""].join("\n") };
}

export interface RootDiskOptions {
  /** Without anything of ours, and without Node: what packages are installed into. */
  isClean?: boolean;
}

/** `debianTree` is the archive that scripts/debian-image.ts makes. Changes with it, with our units and with Node only. */
export async function buildDebianRootDisk(debianTree: string, { isClean }: RootDiskOptions = {}): Promise<string> {
  if (process.getuid?.() !== 0) throw new Error("a Debian's disk is made by root only: its files have other owners");
  const ours = isClean ? testSettings() : await ourFiles();
  const { mtimeMs } = await stat(debianTree);
  const hash = await hashTree(ours, `ext4 ${size} on ${basename(debianTree)} of ${mtimeMs}`);
  return cachedFile(`debian-${hash}.ext4`, async (target) => {
    const content = await mkdtemp(join(tmpdir(), "vmm-debian-"));
    try {
      await runCommand("tar", ["-x", "-f", debianTree, "-C", content, "--numeric-owner"]);
      await writeTree(ours, content);
      await runCommand("mke2fs", ["-q", "-t", "ext4", "-m", "0", "-d", content, target, size]);
    } finally {
      await rm(content, { recursive: true, force: true });
    }
  });
}

/** Everything that is laid over Debian's own files. */
async function ourFiles(): Promise<Tree> {
  const tree: Tree = new Map<string, Entry>([
    ...testSettings(),
    ["usr/bin/vmmessage-agent", { type: "link", to: "../lib/vmmessage/agent.js" }],
    ["usr/bin/agent", { type: "link", to: "vmmessage-agent" }],
    ["usr/bin/vmmessage", { type: "link", to: "../lib/vmmessage/vmmessage.js" }],
    ["usr/sbin/vmmessaged", { type: "link", to: "../lib/vmmessage/vmmessaged.js" }],
    ["usr/bin/node", { type: "copy", from: await strippedNode() }],
  ]);
  for (const [folder, to] of Object.entries(packagedFolders)) {
    await addPackaged(tree, join(projectRoot, "packaging", folder), to);
  }
  return tree;
}

/** What makes a guest for tests of a Debian; and where its second disk is mounted. */
function testSettings(): Tree {
  const tree: Tree = new Map<string, Entry>([["usr/lib/vmmessage", { type: "directory" }]]);
  for (const [path, text] of Object.entries(texts)) tree.set(path, { type: "text", text, mode: 0o644 });
  for (const unit of maskedUnits) tree.set(`etc/systemd/system/${unit}`, { type: "link", to: "/dev/null" });
  return tree;
}

async function addPackaged(tree: Tree, from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (!entry.isFile()) continue;
    tree.set(join(to, entry.name), { type: "copy", from: join(from, entry.name), mode: 0o644 });
  }
}
