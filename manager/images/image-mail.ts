/** What the author of an image is told. */
import { ageInWords, printable } from "../../shared/terminal-text.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import type { Mail } from "../sinks/mailer.ts";
import { bytesInWords } from "./bytes-in-words.ts";
import type { ImageJob } from "./image-job.ts";

/** Of a job that has ended. */
export function imageMail(job: ImageJob, to: string): Mail {
  const { id, vm, image, error } = job;
  return {
    to: [to],
    subject: image === undefined ? `Image of ${vm.name} could not be saved` : `New image created ${vm.name}`,
    text: image === undefined ? failureText(job, error ?? "for a reason that is not known") : successText(job, image),
    messageId: `image-save.${id}`,
    headers: { "X-Vmmessage-Job-Id": id, "Auto-Submitted": "auto-generated" },
  };
}

function successText(job: ImageJob, { path, format, size, sha256 }: NonNullable<ImageJob["image"]>): string {
  return table(`The disk of ${job.vm.name} was saved as an image.`, [
    ["Location", path],
    ["Format", format],
    ["Size", `${size} bytes (${bytesInWords(size)})`],
    ["SHA-256", sha256],
    ...factsOf(job),
  ]);
}

function failureText(job: ImageJob, error: string): string {
  return table(`The disk of ${job.vm.name} could not be saved as an image.`, [
    ["Reason", error],
    ["Directory", job.directory],
    ...factsOf(job),
  ]);
}

function factsOf({ vm, vmStatus, disk, by, createdAt, startedAt, endedAt = createdAt }: ImageJob): [string, string][] {
  return [
    ["VM", `${vm.name} (${vm.id})${vmStatus === "Crashed" ? ", which had crashed" : ""}`],
    ["Disk", disk],
    ["Asked for", `${rfc3339(createdAt)} by ${by}`],
    ["Ended", rfc3339(endedAt)],
    ["Took", startedAt === undefined ? "it was not begun" : ageInWords(endedAt - startedAt)],
  ];
}

/** Names are others' words: what a terminal would obey is escaped. */
function table(title: string, facts: readonly [string, string][]): string {
  const lines = facts.map(([name, value]) => `${`${name}:`.padEnd(11)} ${value}`);
  return `${[title, "", ...lines].map(printable).join("\n")}\n`;
}
