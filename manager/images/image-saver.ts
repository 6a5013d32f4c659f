/**
 * Saves the disk images of VMs when they have shut down. What is asked for outlives the manager: a VM that stops later is
 * still waited for, what was being saved is begun anew, and an author who could not be told is told.
 */
import { randomHex } from "../../shared/random.ts";
import type { ImageSave, NewImageSave } from "../../shared/api/event-schemas.ts";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import type { Log } from "../../shared/log.ts";
import { printable } from "../../shared/terminal-text.ts";
import { vmEvent } from "../events/event.ts";
import { isMailAddress, MailError, type Mailer } from "../sinks/mailer.ts";
import type { Store } from "../store/store.ts";
import { Turns } from "../turns.ts";
import type { Vm } from "../vms/vm.ts";
import { WakeUp } from "../wake-up.ts";
import { chooseDisk, type Disk, isOff, isOn } from "./disk.ts";
import { ImageDirectory } from "./image-directory.ts";
import { freeName, saveImage } from "./image-file.ts";
import { type ImageJob, isEnded, newImageJob, readImageJob, shownJob, storedJob, temporaryName } from "./image-job.ts";
import { imageMail } from "./image-mail.ts";

/** Of all VMs, waiting and being saved. */
const MAX_OPEN = 1_000;

/** Of those that have ended, so many can be shown. */
const MAX_ENDED = 1_000;

const MINUTE_MS = 60_000;

/** A mail to an author is tried again after so long, then each time after the last. */
const MAIL_RETRY_MS = [MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS];
const LAST_MAIL_RETRY_MS = 120 * MINUTE_MS;

/** From the end of the saving. After that the log tells alone. */
const MAIL_GIVEN_UP_MS = 24 * 60 * MINUTE_MS;

/** Which inventory knows it says where its disks are described. */
export interface KnownVm {
  readonly vm: Vm;
  readonly inventory: string;
}

export interface ImageSaverOptions {
  store: Pick<Store, "jobs" | "saveJob">;
  mailer: Pick<Mailer, "send" | "isConfigured">;
  log: Log;
  /** Where images may be put, as the configuration has it now. */
  directories: () => readonly string[];
  vmOf: (id: string) => KnownVm | undefined;
  /** Rejects with CommandError when the inventory cannot tell. */
  disksOf: (vm: Vm, inventory: string) => Promise<readonly Disk[]>;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
}

interface Saving {
  job: ImageJob;
  /** In percent. Told, and not kept: begun again, it begins at nothing. */
  progress: number | undefined;
  /** Its turn with the disk, from when the VM is off. */
  turn: Promise<void> | undefined;
  /** While it is its turn. */
  ending: AbortController | undefined;
  readonly listeners: Set<() => void>;
}

type End = { state: "done"; image: NonNullable<ImageSave["image"]> } | { state: "failed"; error: string } | Cancelled;

interface Cancelled {
  state: "cancelled";
}

const CANCELLED: Cancelled = { state: "cancelled" };

export class ImageSaver {
  readonly #options: ImageSaverOptions;
  readonly #now: () => number;
  /** The oldest first. */
  readonly #savings = new Map<string, Saving>();
  /** One disk is copied at a time: two would take longer than one after the other. */
  readonly #turns = new Turns();
  readonly #closing = new AbortController();
  readonly #mails = new Set<Promise<void>>();

  private constructor(options: ImageSaverOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** Takes up what the last run left; nothing of it is saved before {@link statusChanged} says that its VM is off. */
  static async open(options: ImageSaverOptions): Promise<ImageSaver> {
    const saver = new ImageSaver(options);
    const jobs = (await options.store.jobs()).flatMap((stored) => readImageJob(stored) ?? []);
    for (const job of jobs.sort((a, b) => a.createdAt - b.createdAt)) await saver.#takeUp(job);
    return saver;
  }

  /**
   * Settles when it is kept; it begins when the VM is off, which may be at once. Rejects with CommandError: `not-permitted`
   * for the directory, `usage` for the address, `conflict` when the same is asked for already, `over-limit`, or `failed`
   * when the disk cannot be found.
   */
  async save(request: NewImageSave, by: string, { vm, inventory }: KnownVm): Promise<ImageSave> {
    const { authorEmail, format } = request;
    this.#assertMayMail(authorEmail);
    await using directory = await ImageDirectory.open(request.directory, this.#options.directories());
    const disk = chooseDisk(await this.#options.disksOf(vm, inventory), request.disk, vm);
    const job = newImageJob({
      id: randomHex(16),
      vm: { id: vm.id, name: vm.name },
      directory: directory.path,
      disk: disk.name,
      format,
      ...(authorEmail !== undefined && { authorEmail }),
      by,
      createdAt: this.#now(),
    });
    this.#assertMayAdd(job);
    const saving = this.#add(job);
    try {
      await this.#keep(job, "Scheduled");
    } catch (error) {
      this.#savings.delete(job.id);
      throw error;
    }
    this.#look(saving, this.#options.vmOf(vm.id)?.vm ?? vm);
    return shown(saving);
  }

  /** The inventory says something new of a VM; what `vmOf` answers knows of it. */
  statusChanged({ id }: Pick<Vm, "id">): void {
    const vm = this.#options.vmOf(id)?.vm;
    if (vm === undefined) return;
    for (const saving of this.#savings.values()) if (saving.job.vm.id === id) this.#look(saving, vm);
  }

  /** The newest first. */
  list(): ImageSave[] {
    return [...this.#savings.values()].map(shown).reverse();
  }

  show(id: string): ImageSave | undefined {
    const saving = this.#savings.get(id);
    return saving && shown(saving);
  }

  /** Calls back at each change, till the returned function is called. */
  onChange(id: string, listener: () => void): () => void {
    const listeners = this.#savings.get(id)?.listeners;
    listeners?.add(listener);
    return () => listeners?.delete(listener);
  }

  /** Settles when nothing is left of it. Rejects with CommandError: `conflict` when it has ended, `failed` when it is not known. */
  async cancel(id: string): Promise<ImageSave> {
    const saving = this.#savings.get(id);
    if (saving === undefined)
      throw new CommandError("failed", `there is no saving of an image '${printable(id)}'`, { unknown: true });
    if (saving.ending === undefined) {
      assertNotEnded(saving.job);
      await this.#end(saving, CANCELLED);
    } else {
      saving.ending.abort(CANCELLED);
      await saving.turn;
      if (saving.job.state !== "cancelled") assertNotEnded(saving.job);
    }
    return shown(saving);
  }

  /** What is being saved is given up, and begun anew by the next that is opened. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#turns.take(() => Promise.resolve());
    await Promise.all(this.#mails);
  }

  async #takeUp(job: ImageJob): Promise<void> {
    if (isEnded(job)) {
      const saving = this.#add(job);
      if (job.mail === "due") this.#startMail(saving);
      return;
    }
    const saving = this.#add({ ...job, state: "waiting" });
    // The manager was killed while it saved: the VM may run by now, and what is there of the image is of no use.
    if (job.state === "saving") await this.#removeTemporary(job);
    const known = this.#options.vmOf(job.vm.id);
    if (known === undefined) await this.#end(saving, { state: "failed", error: "the VM is not known any more" });
    else this.#look(saving, known.vm);
  }

  async #removeTemporary(job: ImageJob): Promise<void> {
    try {
      await using directory = await ImageDirectory.open(job.directory, this.#options.directories());
      await directory.remove(temporaryName(job));
    } catch (error) {
      this.#options.log.warn("image-not-removed", { directory: job.directory, file: temporaryName(job), error });
    }
  }

  #look(saving: Saving, vm: Vm): void {
    if (isOn(vm)) {
      saving.ending?.abort(endBy("the VM was started again while its image was saved"));
    } else if (isOff(vm) && saving.job.state === "waiting" && saving.turn === undefined) {
      saving.turn = this.#turns.take(() => this.#turn(saving)).catch(this.#options.failed);
    }
  }

  async #turn(saving: Saving): Promise<void> {
    const known = this.#options.vmOf(saving.job.vm.id);
    const isDue = known !== undefined && isOff(known.vm) && saving.job.state === "waiting";
    if (isDue && !this.#closing.signal.aborted) {
      const end = await this.#attempt(saving, known);
      if (end !== undefined) await this.#end(saving, end);
    }
    saving.turn = undefined;
  }

  /** Undefined when the manager stops: then it has not ended. */
  async #attempt(saving: Saving, known: KnownVm): Promise<End | undefined> {
    const ending = new AbortController();
    saving.ending = ending;
    try {
      return { state: "done", image: await this.#saveImage(saving, known, ending.signal) };
    } catch (error) {
      if (ending.signal.aborted) return ending.signal.reason as End;
      if (this.#closing.signal.aborted) return undefined;
      if (!(error instanceof CommandError)) this.#options.log.error("image-failed", { job: saving.job.id, error });
      return endBy(error instanceof Error ? error.message : String(error));
    } finally {
      saving.ending = undefined;
      saving.progress = undefined;
    }
  }

  async #saveImage(saving: Saving, { vm, inventory }: KnownVm, ending: AbortSignal) {
    const { directories, disksOf } = this.#options;
    const { directory: path, disk: wanted, format } = saving.job;
    await using directory = await ImageDirectory.open(path, directories());
    // As it is defined now: it may have been changed since it was asked for.
    const disk = chooseDisk(await disksOf(vm, inventory), wanted, vm);
    const startedAt = this.#now();
    const name = saving.job.fileName ?? (await freeName(vm.name, startedAt, { format, directory }));
    saving.job = { ...saving.job, state: "saving", startedAt, fileName: name, vmStatus: vm.status };
    await this.#keep(saving.job, "Started");
    this.#tell(saving);
    return await saveImage({
      disk,
      format,
      directory,
      temporaryName: temporaryName(saving.job),
      name,
      onProgress: (percent) => {
        saving.progress = percent;
        this.#tell(saving);
      },
      signal: AbortSignal.any([ending, this.#closing.signal]),
    });
  }

  async #end(saving: Saving, end: End): Promise<void> {
    const isToldOf = saving.job.authorEmail !== undefined && end.state !== "cancelled";
    saving.job = { ...saving.job, ...end, endedAt: this.#now(), mail: isToldOf ? "due" : "none" };
    const { id, vm, image, error } = saving.job;
    await this.#keep(saving.job, newStates[end.state]);
    this.#options.log.info("image", { job: id, vm: vm.name, state: end.state, path: image?.path, reason: error });
    this.#tell(saving);
    this.#dropOldest();
    if (isToldOf) this.#startMail(saving);
  }

  async #keep(job: ImageJob, newState: string): Promise<void> {
    const { id: jobId, by, directory, disk, format, vmStatus, image, error } = job;
    const data = {
      ...{ jobId, by, directory, disk, format, ...image },
      ...(vmStatus !== undefined && { vmStatus }),
      ...(error !== undefined && { error }),
    };
    await this.#options.store.saveJob(storedJob(job), [vmEvent("IMAGE.SAVE", job.vm, this.#now(), { newState, data })]);
  }

  #startMail(saving: Saving): void {
    const mail = this.#mail(saving)
      .catch(this.#options.failed)
      .finally(() => this.#mails.delete(mail));
    this.#mails.add(mail);
  }

  async #mail(saving: Saving): Promise<void> {
    const { job } = saving;
    const timer = new WakeUp();
    for (let attempt = 0; ; attempt += 1) {
      const mail = await this.#tryMail(job);
      if (this.#closing.signal.aborted && mail !== "sent") return;
      if (mail !== "due") {
        saving.job = { ...job, mail };
        await this.#options.store.saveJob(storedJob(saving.job));
        return;
      }
      await timer.wait(MAIL_RETRY_MS[attempt] ?? LAST_MAIL_RETRY_MS, this.#closing.signal);
      if (this.#closing.signal.aborted) return;
    }
  }

  async #tryMail(job: ImageJob): Promise<ImageJob["mail"]> {
    const { authorEmail = "", endedAt = 0 } = job;
    try {
      await this.#options.mailer.send({ ...imageMail(job, authorEmail), signal: this.#closing.signal });
      return "sent";
    } catch (error) {
      const isWorthMore = error instanceof MailError && error.problem !== "refused";
      if (isWorthMore && this.#now() < endedAt + MAIL_GIVEN_UP_MS) return "due";
      this.#options.log.warn("author-not-told", { job: job.id, to: authorEmail, reason: String(error) });
      return "given-up";
    }
  }

  #add(job: ImageJob): Saving {
    const saving: Saving = { job, progress: undefined, turn: undefined, ending: undefined, listeners: new Set() };
    this.#savings.set(job.id, saving);
    return saving;
  }

  #dropOldest(): void {
    const ended = [...this.#savings.values()].filter(({ job }) => isEnded(job) && job.mail !== "due");
    for (const { job } of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) this.#savings.delete(job.id);
  }

  #tell({ listeners }: Saving): void {
    for (const listener of listeners) listener();
  }

  #assertMayMail(address: string | undefined): void {
    if (address === undefined) return;
    if (!isMailAddress(address)) throw usageError(`'${printable(address)}' is no mail address`);
    if (!this.#options.mailer.isConfigured) {
      throw new CommandError("failed", "there is no mail server to tell the author by; name it in events.mail");
    }
  }

  #assertMayAdd({ vm, directory, disk, format }: ImageJob): void {
    if (this.#closing.signal.aborted) throw new CommandError("unreachable", "the manager stops");
    const open = [...this.#savings.values()].map(({ job }) => job).filter((job) => !isEnded(job));
    if (open.length >= MAX_OPEN) {
      throw new CommandError("over-limit", `${open.length} images wait to be saved already`, { limit: MAX_OPEN });
    }
    const same = open.find(
      (job) => job.vm.id === vm.id && job.disk === disk && job.directory === directory && job.format === format,
    );
    if (same === undefined) return;
    const message = `${disk} of '${vm.name}' is to be saved in ${directory} already; that is ${same.id}`;
    throw new CommandError("conflict", message, { id: same.id });
  }
}

const newStates = { done: "Completed", failed: "Failed", cancelled: "Cancelled" } as const;

function endBy(error: string): End {
  return { state: "failed", error };
}

function shown({ job, progress }: Saving): ImageSave {
  return shownJob(job, progress);
}

function assertNotEnded({ id, state }: ImageJob): void {
  if (isEnded({ state })) throw new CommandError("conflict", `the saving of the image ${id} is over: it is ${state}`);
}
