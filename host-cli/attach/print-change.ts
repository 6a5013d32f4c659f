/** Prints a change of a domain: to people its diff and what it means, to programs the facts. */
import type { Output } from "../../shared/cli/output.ts";
import type { AttachCommand } from "../attach-command.ts";
import type { AttachableDomain } from "./attachable-domain.ts";
import { attachedInWords } from "./attach-words.ts";
import { diffLines } from "./definition-change.ts";
import { effectOf, type Plan } from "./plan.ts";

export interface Change {
  before: AttachableDomain;
  after: AttachableDomain;
  plan: Plan;
  /** False while it is only a plan. */
  isDone: boolean;
}

/** @param wasShown somebody has seen what changes, and is only told that it did */
export function printChange(change: Change, command: AttachCommand, output: Output, { wasShown = false } = {}): void {
  const { before, after, plan, isDone } = change;
  const { style, shows } = command;
  const diff = diffLines(before.definition.xml, after.definition.xml);
  const definition = after.definition.xml.trimEnd();
  if (style === "json") {
    const xml = shows === "xml" ? { xml: definition } : {};
    output.json({ ...facts(change), diff: diff.map((line) => `${line}\n`).join(""), ...xml });
    return;
  }
  if (style === "quiet" && isDone) {
    output.line(effectOf(after));
    return;
  }
  if (!wasShown && shows === "xml") output.raw(Buffer.from(definition));
  if (!wasShown && shows === "diff") for (const line of diff) output.line(line);
  // An XML that is printed alone can be put into a file.
  if (style === "quiet" || (shows === "xml" && command.isDryRun)) return;
  for (const sentence of attachedInWords(after, plan, isDone)) output.line(sentence);
  if (command.isDryRun) output.line("Nothing was changed.");
}

function facts({ after, plan, isDone }: Change): object {
  const { name: vm, uuid, status } = after;
  const said = { vm, uuid, status, defined: plan.defines, plugged: plan.plugs, effect: effectOf(after) };
  return isDone ? said : { ...said, dryRun: true };
}
