import { access, constants, readFile, writeFile } from "node:fs/promises";
import { hostname, release } from "node:os";
import { join } from "node:path";
import { cachedFile } from "../../../scripts/cached-file.ts";
import type { GuestImage } from "./image/guest-image.ts";
import { QemuProcess } from "./qemu-process.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "./temporary-directory.ts";
import { withTimeout } from "./wait-for.ts";

const emulation = "tcg,thread=multi";
const probeTimeoutMs = 15_000;

/**
 * "kvm" where it really runs a guest, emulation elsewhere. QEMU's own fall-back (`-accel kvm -accel tcg`) is not enough:
 * on a machine whose /dev/kvm opens but cannot run our kernel, QEMU aborts. So the kernel is tried, once a machine.
 */
export async function chooseAccelerator(image: Pick<GuestImage, "kernel" | "initrd">): Promise<string> {
  if (!(await canOpenKvm())) return emulation;
  const verdict = await cachedFile(`accelerator-${hostname()}-${release()}`, async (target) => {
    await writeFile(target, (await probeKvm(image)) ? "kvm" : emulation);
  });
  return readFile(verdict, "utf8");
}

async function canOpenKvm(): Promise<boolean> {
  return access("/dev/kvm", constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** With this parameter our init says so and powers off. */
async function probeKvm({ kernel, initrd }: Pick<GuestImage, "kernel" | "initrd">): Promise<boolean> {
  const dir = await createTemporaryDirectory();
  const consoleLog = join(dir, "console.log");
  const machine = ["-machine", "q35", "-accel", "kvm", "-cpu", "max", "-m", "256", "-nodefaults", "-no-user-config"];
  const output = ["-display", "none", "-no-reboot", "-serial", `file:${consoleLog}`];
  const program = ["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet vmm_probe=1"];
  const qemu = new QemuProcess([...machine, ...output, ...program], join(dir, "qemu.log"));
  try {
    await withTimeout("the end of the probe", qemu.exited, probeTimeoutMs);
    return (await readFile(consoleLog, "utf8")).includes("init: probed");
  } catch {
    return false;
  } finally {
    await qemu.kill();
    await removeTemporaryDirectory(dir);
  }
}
