/** What a template would change, for a person: unified diffs in which no secret is shown. */
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from "diff";
import type { FileChange } from "../files/rendered-files.ts";
import { PERMISSION_BITS } from "../files/replacement.ts";
import { valueFromBytes } from "../../../shared/protocol/value.ts";
import type { FileTemplate } from "./check-files.ts";
import type { TypedValue } from "./typed-values.ts";
import { holdsSecret } from "./render-files.ts";
import type { Variables } from "./variables.ts";

const MASK = "***";

/** Longer ones are not compared line by line: it takes a time that grows faster than they do. Not measured. */
const MAX_COMPARED_BYTES = 256 * 1024;

/** The lines that tell of one file. */
export function changeInLines(change: FileChange, template: FileTemplate, variables: Variables): string[] {
  return [...rightsInLines(change), ...contentsInLines(change, template, variables)];
}

function rightsInLines({ file, present }: FileChange): string[] {
  const { path, uid, gid, mode } = file;
  const rights = rightsInWords(uid, gid, mode);
  switch (present.type) {
    case "none":
      return [`${path}: new, ${rights}`];
    case "link":
      return [`${path}: a file in place of the symbolic link, ${rights}`];
    case "file": {
      const { stat } = present;
      const before = rightsInWords(stat.uid, stat.gid, stat.mode & PERMISSION_BITS);
      return before === rights ? [] : [`${path}: ${before} -> ${rights}`];
    }
  }
}

function rightsInWords(uid: number, gid: number, mode: number): string {
  return `owner ${uid}:${gid} mode ${mode.toString(8).padStart(4, "0")}`;
}

function contentsInLines(change: FileChange, template: FileTemplate, variables: Variables): string[] {
  const { file, presentContent } = change;
  const { path } = file;
  if (presentContent.equals(file.content)) return [];
  const before = comparable(presentContent);
  const after = comparable(file.content);
  if (before === undefined || after === undefined) return [`${path}: other contents, not shown`];
  const shown = holdsSecret(template, variables) ? masked(before, after, template, variables) : { before, after };
  if (shown === undefined || shown.before === shown.after) return [`${path}: other contents, secret`];
  const from = change.present.type === "file" ? path : "/dev/null";
  const options = { headerOptions: FILE_HEADERS_ONLY };
  return createTwoFilesPatch(from, path, shown.before, shown.after, undefined, undefined, options)
    .trimEnd()
    .split("\n");
}

function comparable(bytes: Buffer): string | undefined {
  const text = bytes.length <= MAX_COMPARED_BYTES ? valueFromBytes(bytes) : undefined;
  return typeof text === "string" && !text.includes("\0") ? text : undefined;
}

/**
 * Both contents without what could be a secret. The new one is rendered with masks in place of the secrets, whatever filters
 * make of them. The old one may hold an earlier secret, which nobody knows any more: of its lines only those are shown that
 * the new one has too. Undefined where the template can do nothing with a mask.
 */
function masked(before: string, after: string, { template }: FileTemplate, { values, secret }: Variables) {
  const masks = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, secret.has(name) ? maskOf(value) : value]),
  );
  let shownAfter: string;
  try {
    shownAfter = template.render(masks);
  } catch {
    return undefined;
  }
  const maskedLines = shownAfter.split("\n");
  const lines = after.split("\n");
  const shown = new Map(maskedLines.map((line) => [line, line]));
  if (lines.length === maskedLines.length) {
    for (const [index, line] of lines.entries()) shown.set(line, maskedLines[index] ?? MASK);
  }
  return {
    before: before
      .split("\n")
      .map((line) => shown.get(line) ?? MASK)
      .join("\n"),
    after: shownAfter,
  };
}

/** Of the same shape, so that a template finds its way; what is true or false says too little to be a secret. */
function maskOf(value: TypedValue): TypedValue {
  if (value === null || typeof value === "boolean") return value;
  if (Array.isArray(value)) return value.map(maskOf);
  if (typeof value !== "object") return MASK;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, maskOf(member)]));
}
