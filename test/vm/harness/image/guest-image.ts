import { ensureGuestTools, type GuestTools, type Log } from "../../../../scripts/guest-tools.ts";
import { buildBundleDisk } from "./bundle-disk.ts";
import { buildInitrd } from "./initrd.ts";
import { buildRootDisk } from "./root-disk.ts";
import { unpackKernel } from "./kernel-image.ts";
import { compileStatic } from "./static-program.ts";

/** The files a guest is started from; none of them is ever written to. */
export interface GuestImage {
  kernel: string;
  initrd: string;
  /** Raw ext4, becomes /dev/vda below a guest's own overlay. */
  rootDisk: string;
  /** Raw ext4, becomes /dev/vdb, mounted at /usr/lib/vmmessage. */
  bundleDisk: string;
}

const images = new Map<string | undefined, Promise<GuestImage>>();

/** Builds what is not cached yet, once a process. `bundleDir` holds an agent.js to use instead of the project's own. */
export function guestImage(log: Log, bundleDir?: string): Promise<GuestImage> {
  const image = images.get(bundleDir) ?? buildGuestImage(log, bundleDir);
  images.set(bundleDir, image);
  return image;
}

async function buildGuestImage(log: Log, bundleDir?: string): Promise<GuestImage> {
  const tools = await ensureGuestTools(log);
  return {
    ...(await buildStart(tools)),
    rootDisk: await buildRootDisk(tools),
    bundleDisk: await buildBundleDisk(bundleDir),
  };
}

/** What leads to the root disk, whatever is on it. */
export async function buildStart(tools: GuestTools): Promise<Pick<GuestImage, "kernel" | "initrd">> {
  return {
    kernel: await unpackKernel(tools.kernel),
    initrd: await buildInitrd(await compileStatic("init"), tools.modules),
  };
}
