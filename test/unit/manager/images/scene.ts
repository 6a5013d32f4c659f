/** A saver of images with everything around it, in memory but for the directories. */
import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, vi } from "vitest";
import type { NewEvent } from "../../../../manager/events/event.ts";
import { ImageSaver, type KnownVm } from "../../../../manager/images/image-saver.ts";
import type { Mail } from "../../../../manager/sinks/mailer.ts";
import type { Store, StoredJob } from "../../../../manager/store/store.ts";
import type { VmStatus } from "../../../../shared/vm-status.ts";

export const web1 = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web1" };

export class Scene {
  readonly directory: string;
  readonly jobs = new Map<string, StoredJob>();
  readonly events: NewEvent[] = [];
  readonly mails: Mail[] = [];
  readonly log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  readonly failed = vi.fn();
  readonly send = vi.fn((mail: Mail) => {
    this.mails.push(mail);
    return Promise.resolve();
  });
  readonly disksOf = vi.fn(() => Promise.resolve([{ name: "vda", path: "/does/not/exist", format: "raw" }]));
  hasMailServer = true;
  known: KnownVm | undefined = known("Running");

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async open(): Promise<Scene> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), "images-")));
    onTestFinished(() => rm(directory, { recursive: true }));
    await mkdir(join(directory, "allowed", "below"), { recursive: true });
    await mkdir(join(directory, "allowed-not"));
    return new Scene(directory);
  }

  get allowed(): string {
    return join(this.directory, "allowed");
  }

  /** Its states, as events tell of them. */
  get states(): (string | undefined)[] {
    return this.events.map(({ newState }) => newState);
  }

  async openSaver(): Promise<ImageSaver> {
    const store: Pick<Store, "jobs" | "saveJob"> = {
      jobs: () => Promise.resolve([...this.jobs.values()]),
      saveJob: (job, events = []) => {
        this.jobs.set(job.id, structuredClone(job));
        this.events.push(...events);
        return Promise.resolve();
      },
    };
    const scene = this as Scene;
    const mailer = {
      send: this.send,
      get isConfigured() {
        return scene.hasMailServer;
      },
    };
    const saver = await ImageSaver.open({
      store,
      mailer,
      log: this.log,
      directories: () => [this.allowed],
      vmOf: () => this.known,
      disksOf: this.disksOf,
      failed: this.failed,
    });
    onTestFinished(() => saver.close());
    return saver;
  }
}

export function known(status: VmStatus): KnownVm {
  return { vm: { ...web1, status, host: "host1", channelPath: undefined }, inventory: "libvirt qemu:///system" };
}
