// A guest as users have them: Debian with systemd, in which the agent runs from its packaged unit.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ensureDebianTree } from "../../../scripts/debian-image.ts";
import { ensureGuestTools, type GuestTools, type Log } from "../../../scripts/guest-tools.ts";
import { type Guest, type GuestOptions, startGuest } from "../harness/guest.ts";
import { buildBundleDisk } from "../harness/image/bundle-disk.ts";
import { buildStart, type GuestImage } from "../harness/image/guest-image.ts";
import { addFilesForRootDisk } from "../harness/image/initrd.ts";
import type { Tree } from "../harness/image/tree.ts";
import { buildDebianRootDisk, packagedUnits } from "./root-disk.ts";

export interface DebianOptions extends Omit<GuestOptions, "agent" | "image"> {
  /** Lies there before the first boot. Paths without a leading slash and, on this merged-/usr system, below usr or etc. */
  files?: Record<string, { content: string | Buffer; mode: number }>;
  /** What is enabled, of packaging/systemd or of `files`; nothing if left out. The agent is started by its port. */
  units?: readonly string[];
  /** Nothing of ours is there, nor Node; what `bundleDir` has is on /dev/vdb, mounted at /usr/lib/vmmessage at first. */
  isClean?: boolean;
}

interface DebianParts extends GuestImage {
  tools: GuestTools;
}

/** Enough for the agent, nginx and two more programs on Node. */
const memoryMb = 512;
/** It takes 20 s of an emulated processor, of which a busy machine may have a fraction. */
const bootTimeoutMs = 240_000;
/** The console tells of units that fail, and nothing else. */
const kernelArgs = ["vmm_init=/sbin/init", "systemd.show_status=error"];

/** Boots a Debian with a fresh root disk; ready means that qemu-ga answers, which is before all units are up. */
export async function startDebianGuest(options: DebianOptions = {}): Promise<Guest> {
  const { files = {}, units = [], isClean = false, log = console.error, ...others } = options;
  const { tools, ...image } = await debianParts(log, { isClean, bundleDir: options.bundleDir });
  const tree: Tree = new Map();
  for (const [path, { content, mode }] of Object.entries(files)) tree.set(path, { type: "text", text: content, mode });
  for (const unit of units) await enable(unit, tree);
  return startGuest({
    memoryMb,
    bootTimeoutMs,
    ...others,
    log,
    image: { ...image, initrd: await addFilesForRootDisk(image.initrd, tree, tools.busybox) },
    kernelArgs: [...kernelArgs, ...(options.kernelArgs ?? [])],
  });
}

interface Kind {
  isClean: boolean;
  bundleDir: string | undefined;
}

const parts = new Map<string, Promise<DebianParts>>();

/** Built once a process. */
function debianParts(log: Log, kind: Kind): Promise<DebianParts> {
  const name = JSON.stringify(kind);
  const building = parts.get(name) ?? buildParts(log, kind);
  parts.set(name, building);
  return building;
}

async function buildParts(log: Log, { isClean, bundleDir }: Kind): Promise<DebianParts> {
  const tools = await ensureGuestTools(log);
  return {
    tools,
    ...(await buildStart(tools)),
    rootDisk: await buildDebianRootDisk(await ensureDebianTree(log), { isClean }),
    bundleDisk: await buildBundleDisk(bundleDir),
  };
}

/** As `systemctl enable` does, for the settings of [Install] that the units have. */
async function enable(unit: string, tree: Tree): Promise<void> {
  const given = tree.get(`etc/systemd/system/${unit}`);
  const text = given?.type === "text" ? String(given.text) : await readFile(join(packagedUnits, unit), "utf8");
  const to = given === undefined ? `/usr/lib/systemd/system/${unit}` : `/etc/systemd/system/${unit}`;
  const wanted = [...text.matchAll(/^(Wanted|Required)By=(.+)$/gm)];
  if (wanted.length === 0) throw new Error(`${unit} has no WantedBy= or RequiredBy=: what is to start it?`);
  for (const [, kind, targets = ""] of wanted) {
    const directory = kind === "Wanted" ? "wants" : "requires";
    for (const target of targets.split(" ")) {
      tree.set(`etc/systemd/system/${target}.${directory}/${unit}`, { type: "link", to });
    }
  }
}
