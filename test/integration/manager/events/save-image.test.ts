import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { chown, mkdir, mkdtemp, open, readdir, readFile, realpath, rm, stat, writeFile } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Disk } from "../../../../manager/images/disk.ts";
import { ImageSaver, type ImageSaverOptions, type KnownVm } from "../../../../manager/images/image-saver.ts";
import { libvirtDisks } from "../../../../manager/images/libvirt-disks.ts";
import { Mailer } from "../../../../manager/sinks/mailer.ts";
import type { Store } from "../../../../manager/store/store.ts";
import type { ImageSave, NewImageSave } from "../../../../shared/api/event-schemas.ts";
import type { VmStatus } from "../../../../shared/vm-status.ts";
import { CHANNEL_XML, LibvirtUnderTest } from "../../support/libvirt.ts";
import { MailServerUnderTest } from "../../support/mail.ts";
import { openTestStore } from "../store/stores.ts";

const run = promisify(execFile);

const MIB = 1024 * 1024;
const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
const web1 = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web1" };

afterEach(() => {
  vi.unstubAllEnvs();
});

/** Directories for disks and images, a store, and a VM that is as the test says. */
class Scene {
  readonly folder: string;
  readonly images: string;
  readonly state: string;
  #store: Store | undefined;
  known: KnownVm;
  disks: Disk[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.images = join(folder, "images");
    this.state = join(folder, "state");
    this.known = this.#knownAs("Running");
  }

  static async open(): Promise<Scene> {
    const folder = await realpath(await mkdtemp(join(tmpdir(), "save-")));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const scene = new Scene(folder);
    await mkdir(scene.images);
    return scene;
  }

  async openSaver(options: Partial<ImageSaverOptions> = {}): Promise<ImageSaver> {
    this.#store ??= await openTestStore(this.state);
    const saver = await ImageSaver.open({
      store: this.#store,
      mailer: { send: () => Promise.resolve(), isConfigured: true },
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      directories: () => [this.images],
      vmOf: () => this.known,
      disksOf: () => Promise.resolve(this.disks),
      failed: (error) => {
        throw error;
      },
      ...options,
    });
    onTestFinished(() => saver.close());
    return saver;
  }

  /** A raw disk with so many MiB of data, in a file of 16 MiB. */
  async makeDisk(dataMib = 4, name = "disk.raw"): Promise<string> {
    const path = join(this.folder, name);
    await writeFile(path, randomBytes(dataMib * MIB));
    await using file = await open(path, "r+");
    await file.truncate(Math.max(16, dataMib) * MIB);
    this.disks = [{ name: "vda", path, format: "raw" }];
    return path;
  }

  turn(saver: ImageSaver, status: VmStatus): void {
    this.known = this.#knownAs(status);
    saver.statusChanged(this.known.vm);
  }

  async save(saver: ImageSaver, change: Partial<NewImageSave> = {}): Promise<ImageSave> {
    return saver.save({ directory: this.images, format: "qcow2", ...change }, "alice", this.known);
  }

  /** What became of it. */
  async ended(saver: ImageSaver, id: string): Promise<ImageSave> {
    await vi.waitUntil(() => saver.show(id)?.endedAt !== undefined, { timeout: 20_000 });
    const save = saver.show(id);
    if (save === undefined) throw new Error(`there is no ${id}`);
    return save;
  }

  async events() {
    return ((await this.#store?.eventsAfter(0, 100)) ?? []).filter(({ type }) => type === "IMAGE.SAVE");
  }

  async states() {
    return (await this.events()).map(({ newState }) => newState);
  }

  #knownAs(status: VmStatus): KnownVm {
    return { vm: { ...web1, status, host: "host1", channelPath: undefined }, inventory: "libvirt qemu:///system" };
  }
}

/** Throws when they differ. */
async function compare(disk: Pick<Disk, "path" | "format">, image: ImageSave["image"]): Promise<void> {
  if (image === undefined) throw new Error("there is no image");
  await run("qemu-img", ["compare", "-f", disk.format, "-F", image.format, disk.path, image.path]);
}

async function sha256(path: string): Promise<string> {
  return (await run("sha256sum", [path])).stdout.slice(0, 64);
}

describe("the image of a VM", () => {
  it.each(["qcow2", "raw"] as const)("is saved as %s when it has stopped, and is the disk", async (format) => {
    const scene = await Scene.open();
    await scene.makeDisk();
    const saver = await scene.openSaver();
    const { id, state } = await scene.save(saver, { format });
    expect(state).toBe("waiting");
    const progress: number[] = [];
    saver.onChange(id, () => progress.push(saver.show(id)?.progress ?? -1));
    scene.turn(saver, "Stopped");
    const { image, ...save } = await scene.ended(saver, id);
    expect(save).toMatchObject({ state: "done", disk: "vda" });
    expect(image?.path).toMatch(new RegExp(`^${scene.images}/web1-\\d{8}T\\d{6}Z\\.${format}$`));
    await compare({ path: scene.disks[0]?.path ?? "", format: "raw" }, image);
    const { size, mode } = await stat(image?.path ?? "");
    expect(image).toMatchObject({ format, size, sha256: await sha256(image?.path ?? "") });
    expect(mode & 0o777).toBe(0o600);
    expect(await readdir(scene.images)).toHaveLength(1);
    expect(Math.max(...progress)).toBe(100);
    const events = await scene.events();
    expect(events.map(({ newState }) => newState)).toEqual(["Scheduled", "Started", "Completed"]);
    expect(events[2]).toMatchObject({
      category: "AsyncJobEvent",
      resourceUUID: web1.id,
      data: { jobId: id, by: "alice", ...image, vmStatus: "Stopped" },
    });
  });

  it("is saved at once when it is off already, also when it crashed, and says that it did", async () => {
    const scene = await Scene.open();
    await scene.makeDisk();
    const saver = await scene.openSaver();
    scene.turn(saver, "Crashed");
    const { id } = await scene.save(saver);
    expect(await scene.ended(saver, id)).toMatchObject({ state: "done" });
    expect((await scene.events()).at(-1)?.data).toMatchObject({ vmStatus: "Crashed" });
  });

  it("has what the guest wrote that looks like a qcow2 header, and nothing of the file that this names", async () => {
    const scene = await Scene.open();
    const secret = join(scene.folder, "secret");
    await writeFile(secret, `root:x:0:0:${"s".repeat(2 * MIB)}`);
    const header = join(scene.folder, "header.qcow2");
    await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", header]);
    const path = await scene.makeDisk();
    await using disk = await open(path, "r+");
    await disk.write(await readFile(header), { position: 0 });
    // Whoever looks at the disk to find out its format falls for it.
    const { stdout } = await run("qemu-img", ["info", "--output=json", path]);
    expect(JSON.parse(stdout)).toMatchObject({ format: "qcow2", "backing-filename": secret });

    const saver = await scene.openSaver();
    scene.turn(saver, "Stopped");
    for (const format of ["qcow2", "raw"] as const) {
      const { id } = await scene.save(saver, { format });
      const { image } = await scene.ended(saver, id);
      await compare({ path, format: "raw" }, image);
      expect((await readFile(image?.path ?? "")).includes("root:x:0:0:ssss")).toBe(false);
    }
  });

  it("of a disk with a backing file needs that file no more", async () => {
    const scene = await Scene.open();
    const base = await scene.makeDisk(4, "base.raw");
    const path = join(scene.folder, "overlay.qcow2");
    await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path]);
    await run("qemu-io", ["-f", "qcow2", "-c", "write -P 7 1M 1M", path]);
    scene.disks = [{ name: "vda", path, format: "qcow2" }];
    const saver = await scene.openSaver();
    scene.turn(saver, "Stopped");
    const { image } = await scene.ended(saver, (await scene.save(saver)).id);
    await compare({ path, format: "qcow2" }, image);
    const { stdout } = await run("qemu-img", ["info", "--output=json", image?.path ?? ""]);
    expect(JSON.parse(stdout)).not.toHaveProperty("backing-filename");
  });

  it("is called by a name that leads nowhere, whatever the VM is called", async () => {
    const scene = await Scene.open();
    await scene.makeDisk();
    const saver = await scene.openSaver();
    scene.turn(saver, "Stopped");
    const vm = { ...scene.known.vm, name: "../../evil\r\n" };
    scene.known = { ...scene.known, vm };
    const { image } = await scene.ended(saver, (await scene.save(saver)).id);
    expect(image?.path.startsWith(`${scene.images}/_.._evil_-`)).toBe(true);
  });

  it("waits for its turn: one is saved at a time", async () => {
    const scene = await Scene.open();
    await scene.makeDisk();
    const saver = await scene.openSaver();
    const ids = [];
    for (const format of ["qcow2", "raw"] as const) ids.push((await scene.save(saver, { format })).id);
    const atOnce: number[] = [];
    for (const id of ids) {
      saver.onChange(id, () => atOnce.push(saver.list().filter(({ state }) => state === "saving").length));
    }
    scene.turn(saver, "Stopped");
    for (const id of ids) expect(await scene.ended(saver, id)).toMatchObject({ state: "done" });
    expect(Math.max(...atOnce)).toBe(1);
  });
});

describe("an image that cannot be saved", () => {
  it("because its disk is in use says so, and is waited for a moment", async () => {
    const scene = await Scene.open();
    const path = await scene.makeDisk();
    const user = spawn("qemu-io", ["-f", "raw", path], { stdio: ["pipe", "pipe", "ignore"] });
    onTestFinished(() => void user.kill());
    user.stdin.write("length\n");
    await once(user.stdout, "data");
    const saver = await scene.openSaver();
    const { id } = await scene.save(saver);
    scene.turn(saver, "Stopped");
    expect(await scene.ended(saver, id)).toMatchObject({
      state: "failed",
      error: `the disk vda (${path}) is in use by another process; does the VM run?`,
    });
    const later = (await scene.save(saver)).id;
    const temporary = join(scene.images, `.vmmessage-${later}.part`);
    await vi.waitUntil(() => stat(temporary).catch(() => undefined));
    user.kill();
    expect(await scene.ended(saver, later)).toMatchObject({ state: "done" });
  });

  it.runIf(isRoot)("because there is no room says how much is needed and free, and begins nothing", async () => {
    const scene = await Scene.open();
    await scene.makeDisk(8);
    await run("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", scene.images]);
    onTestFinished(async () => {
      await run("umount", [scene.images]);
    });
    const saver = await scene.openSaver();
    scene.turn(saver, "Stopped");
    const { error } = await scene.ended(saver, (await scene.save(saver)).id);
    expect(error).toMatch(/^the image needs up to 8\.\d MiB, and .*images has 4\.0 MiB free$/);
    expect(await readdir(scene.images)).toEqual([]);
  });

  it("because its VM was started again is given up, and leaves nothing", async () => {
    const scene = await Scene.open();
    await scene.makeDisk(64);
    const saver = await scene.openSaver();
    const { id } = await scene.save(saver);
    whenBegun(saver, id, () => {
      scene.turn(saver, "Running");
    });
    scene.turn(saver, "Stopped");
    const error = "the VM was started again while its image was saved";
    expect(await scene.ended(saver, id)).toMatchObject({ state: "failed", error });
    expect(await scene.states()).toEqual(["Scheduled", "Started", "Failed"]);
    expect(await readdir(scene.images)).toEqual([]);
  });

  it("because somebody cancels it leaves nothing", async () => {
    const scene = await Scene.open();
    await scene.makeDisk(64);
    const saver = await scene.openSaver();
    const { id } = await scene.save(saver);
    const cancelled = new Promise((resolve) => {
      whenBegun(saver, id, () => {
        resolve(saver.cancel(id));
      });
    });
    scene.turn(saver, "Stopped");
    expect(await cancelled).toMatchObject({ state: "cancelled" });
    expect(await scene.states()).toEqual(["Scheduled", "Started", "Cancelled"]);
    expect(await readdir(scene.images)).toEqual([]);
  });
});

describe("a manager that ends while it saves", () => {
  it("in order leaves nothing of the image, and the next begins anew", async () => {
    const scene = await Scene.open();
    const path = await scene.makeDisk(64);
    const first = await scene.openSaver();
    const { id } = await scene.save(first);
    const closed = new Promise((resolve) => {
      whenBegun(first, id, () => {
        resolve(first.close());
      });
    });
    scene.turn(first, "Stopped");
    await closed;
    expect(await readdir(scene.images)).toEqual([]);
    expect(await scene.states()).toEqual(["Scheduled", "Started"]);
    const second = await scene.openSaver();
    const { image } = await scene.ended(second, id);
    await compare({ path, format: "raw" }, image);
  });

  it("by kill -9 takes qemu-img with it, and the next removes what is left and saves the image", async () => {
    const scene = await Scene.open();
    const path = await scene.makeDisk(64);
    const script = join(import.meta.dirname, "save-until-killed.ts");
    const args = [script, scene.state, scene.images, path];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const printed = once(child.stdout, "data") as Promise<[Buffer]>;
    expect(await once(child, "exit")).toEqual([null, "SIGKILL"]);
    const qemuImg = Number((await printed)[0]);
    expect(await readdir(scene.images)).toEqual([expect.stringMatching(/^\.vmmessage-[0-9a-f]{32}\.part$/)]);
    onTestFinished(() => {
      if (runs(qemuImg)) process.kill(qemuImg, "SIGKILL");
    });
    await vi.waitUntil(() => !runs(qemuImg), { timeout: 5_000 });

    const send = vi.fn(() => Promise.resolve());
    const saver = await scene.openSaver({ mailer: { send, isConfigured: true } });
    expect(await readdir(scene.images)).toEqual([]);
    const id = saver.list()[0]?.id ?? "";
    scene.turn(saver, "Stopped");
    const { image } = await scene.ended(saver, id);
    await compare({ path, format: "raw" }, image);
    expect(await readdir(scene.images)).toHaveLength(1);
    expect(await scene.states()).toEqual(["Scheduled", "Started", "Started", "Completed"]);
    await vi.waitFor(() => {
      expect(send).toHaveBeenCalledTimes(1);
    });
  });
});

describe("a domain of libvirt", () => {
  it("is saved when it is shut down, and its author gets a mail that says where", async () => {
    vi.stubEnv("LC_ALL", "C");
    await using libvirt = await LibvirtUnderTest.start();
    await using server = await MailServerUnderTest.start();
    const scene = await Scene.open();
    const path = join(libvirt.directory, "d", "web1.qcow2");
    await run("qemu-img", ["create", "-q", "-f", "qcow2", path, "16M"]);
    await run("qemu-io", ["-f", "qcow2", "-c", "write -P 7 1M 1M", path]);
    if (isRoot) await chown(path, NOBODY, NOBODY);
    const disk = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>`;
    const id = await libvirt.define("web1", { devices: CHANNEL_XML + disk });
    const vm = { ...web1, id, host: "host1", channelPath: undefined };
    const inventory = `libvirt ${libvirt.uri}`;
    scene.known = { vm: { ...vm, status: "Running" }, inventory };
    await libvirt.virsh("start", "web1");

    const mailer = new Mailer(() => server.config);
    const saver = await scene.openSaver({ mailer, disksOf: libvirtDisks });
    const save = await scene.save(saver, { authorEmail: "author@example.com" });
    expect(save).toMatchObject({ disk: "vda", state: "waiting" });
    await libvirt.virsh("destroy", "web1");
    scene.known = { vm: { ...vm, status: "Stopped" }, inventory };
    saver.statusChanged(scene.known.vm);
    const { image } = await scene.ended(saver, save.id);
    await compare({ path, format: "qcow2" }, image);

    const mails = await vi.waitUntil(
      async () => {
        const all = await server.messages().catch(() => []);
        return all.length > 0 && all;
      },
      { timeout: 10_000 },
    );
    expect(mails).toHaveLength(1);
    const { headers, text } = mails[0] ?? { headers: new Map<string, string>(), text: "" };
    expect(headers.get("subject")).toBe("New image created web1");
    expect(headers.get("x-rcptto")).toBe("author@example.com");
    expect(headers.get("message-id")).toBe(`<image-save.${save.id}@host.example>`);
    for (const line of [
      `Location:   ${image?.path ?? ""}`,
      "Format:     qcow2",
      `SHA-256:    ${image?.sha256 ?? ""}`,
      `VM:         web1 (${id})`,
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(text).toMatch(/^Size: {7}\d+ bytes \(1\.\d MiB\)$/m);
    await libvirt.virsh("undefine", "web1");
    await expect(libvirtDisks(vm, inventory)).rejects.toMatchObject({ code: "failed" });
  });
});

function runs(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8") === "qemu-img\n";
  } catch {
    return false;
  }
}

/** Once a part of the image is there. */
function whenBegun(saver: ImageSaver, id: string, act: () => void): void {
  const stop = saver.onChange(id, () => {
    if ((saver.show(id)?.progress ?? 0) === 0) return;
    stop();
    act();
  });
}
