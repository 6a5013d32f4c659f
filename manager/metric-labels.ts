/** Labels of metrics: what hypervisors, configurations and guests call things, harmless and bounded. */
import type { VmRef } from "../shared/api/schemas.ts";
import { printable } from "../shared/terminal-text.ts";

/** A name from elsewhere as a label's value, at most this long. */
const MAX_LABEL_LENGTH = 256;

export const vmLabels = ["vm", "vm_id"] as const;
export type VmLabels = Record<(typeof vmLabels)[number], string>;

export function labelsOf({ id, name }: VmRef): VmLabels {
  return { vm: labelValue(name), vm_id: labelValue(id) };
}

export function labelValue(text: string): string {
  return printable(text.slice(0, MAX_LABEL_LENGTH)).slice(0, MAX_LABEL_LENGTH).toWellFormed();
}
