/** Where an answer is from, for people: a manager answers for a VM that is away with what it held when last heard. */
import type { PendingChange, VmSummary } from "../shared/api/schemas.ts";
import type { Output } from "../shared/cli/output.ts";
import { ageInWords } from "../shared/terminal-text.ts";
import type { OutputStyle } from "./command.ts";
import type { Origin } from "./guest.ts";

/** Notes on stderr what the answer alone does not tell; in JSON it stands beside it. */
export function noteOrigin(output: Output, style: OutputStyle, vm: string, origin: Origin | undefined): void {
  if (origin === undefined || style === "json") return;
  if (origin.from === "mirror") {
    output.note(`this is what '${vm}' held ${agoInWords(origin.asOf)}, when it was last heard`);
  }
  for (const change of origin.pending) output.note(pendingInWords(change));
}

/** `not delivered yet: set of 'a', 'b', queued 5 minutes ago (message 0123...)` */
export function pendingInWords({ messageId, method, keys, queuedAt }: PendingChange): string {
  const what = method === "clear" ? "clear of all keys" : `${method} of ${keys.map((key) => `'${key}'`).join(", ")}`;
  return `not delivered yet: ${what}, queued ${agoInWords(queuedAt)} (message ${messageId})`;
}

/** Why a VM does not answer, and what stands in for it. */
export function awayInWords({ name, status, link, lastHeardAt }: VmSummary): string {
  const why = link.state === "off" ? `it is ${status}` : `its link is ${link.state}`;
  const reason = link.reason === undefined ? "" : ` (${link.reason})`;
  const heard = lastHeardAt === undefined ? "it was never heard" : `it was last heard ${agoInWords(lastHeardAt)}`;
  return `'${name}' is away: ${why}${reason}; ${heard}`;
}

/** An RFC 3339 time as an age; the manager's clock may be a little ahead of ours. */
export function agoInWords(time: string, nowMs = Date.now()): string {
  return `${ageInWords(Math.max(0, nowMs - Date.parse(time)))} ago`;
}
