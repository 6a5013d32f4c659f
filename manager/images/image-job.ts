/** The saving of one VM's image, as it is kept. */
import * as z from "zod/mini";
import { imageFormats, imageSave, type ImageSave, imageSaveStates } from "../../shared/api/event-schemas.ts";
import { vmRef } from "../../shared/api/schemas.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { vmStatuses } from "../../shared/vm-status.ts";
import type { StoredJob } from "../store/store.ts";

const KIND = "image-save";

const time = z.number();

const imageJob = z.object({
  kind: z.literal(KIND),
  id: z.string(),
  vm: vmRef,
  /** Without symbolic links. */
  directory: z.string(),
  /** The disk's name. */
  disk: z.string(),
  format: z.enum(imageFormats),
  authorEmail: z.optional(z.string()),
  by: z.string(),
  state: z.enum(imageSaveStates),
  createdAt: time,
  startedAt: z.optional(time),
  endedAt: z.optional(time),
  /** How the VM was when it was begun: stopped or crashed. */
  vmStatus: z.optional(z.enum(vmStatuses)),
  /** The image's, from when it is first begun: begun again after a restart, it replaces what may have become of it. */
  fileName: z.optional(z.string()),
  image: imageSave.shape.image,
  error: z.optional(z.string()),
  /** Of what became of it, to its author; `none` when there is nobody or nothing to tell. */
  mail: z.enum(["none", "due", "sent", "given-up"]),
});
export type ImageJob = z.infer<typeof imageJob>;

export function newImageJob(parts: Omit<ImageJob, "kind" | "state" | "mail">): ImageJob {
  return { kind: KIND, state: "waiting", mail: "none", ...parts };
}

/** Undefined for another kind of job. */
export function readImageJob({ job }: StoredJob): ImageJob | undefined {
  return imageJob.safeParse(job).data;
}

export function storedJob(job: ImageJob): StoredJob {
  return { id: job.id, vmId: job.vm.id, createdAt: job.createdAt, isOver: isEnded(job) && job.mail !== "due", job };
}

/** There will be no image of it, or there is one. Its author may still have to be told. */
export function isEnded({ state }: Pick<ImageJob, "state">): boolean {
  return state !== "waiting" && state !== "saving";
}

/** Under which it is written, hidden, till it is whole: no other job has the same. */
export function temporaryName({ id }: ImageJob): string {
  return `.vmmessage-${id}.part`;
}

/** @param progress in percent, while it is saved */
export function shownJob(job: ImageJob, progress: number | undefined): ImageSave {
  const { id, vm, directory, disk, format, authorEmail, by, state, createdAt, endedAt, image, error } = job;
  return {
    id,
    vm,
    directory,
    disk,
    format,
    ...(authorEmail !== undefined && { authorEmail }),
    by,
    state,
    createdAt: rfc3339(createdAt),
    ...(endedAt !== undefined && { endedAt: rfc3339(endedAt) }),
    ...(progress !== undefined && { progress }),
    ...(image !== undefined && { image }),
    ...(error !== undefined && { error }),
  };
}
