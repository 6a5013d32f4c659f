/** The sentences of ovm_vmmessage, word for word; scripts written for it read them. */
import type { Output } from "../shared/cli/output.ts";
import type { WireEntry } from "../shared/protocol/message.ts";
import { fromWireValue, type Value } from "../shared/protocol/value.ts";
import { ageInWords } from "../shared/terminal-text.ts";
import { version } from "../shared/version.ts";
import type { OutputStyle } from "./command.ts";

/** Tells the story line by line as it happens; says nothing when only the answer is wanted. */
export class Transcript {
  readonly #output: Output;
  readonly #isTold: boolean;

  constructor(output: Output, style: OutputStyle) {
    this.#output = output;
    this.#isTold = style === "transcript";
  }

  say(...lines: string[]): void {
    if (this.#isTold) for (const line of lines) this.#output.line(line);
  }
}

export const sentences = {
  banner: `vmmessage ${version}.`,
  connected: "Connected.",
  status: (vm: string, status: string) => `VM : '${vm}' has status :  ${status}.`,
  sending: "Sending message.",
  sent: "Message sent successfully.",
  queued: "Message queued; it is delivered when the VM answers.",
  querying: (key: string) => `Querying for key '${key}'.`,
  querySuccessful: "Query successful.",
  returned: (key: string, entry: WireEntry) => `Query for Key : '${key}' returned value '${shownValue(entry)}'.`,
  age: ({ ageMs }: WireEntry) => `Key set ${ageInWords(ageMs)} ago.`,
  acknowledged: (result: string | undefined) =>
    result === undefined ? "Message acknowledged." : `Message acknowledged with result '${result}'.`,
};

/** A value on one line; bytes that are not UTF-8 as `base64:...`. */
export function shownValue(entry: Pick<WireEntry, "value" | "base64">): string {
  const value: Value = fromWireValue(entry);
  return typeof value === "string" ? value : `base64:${Buffer.from(value).toString("base64")}`;
}

/** What a table shows of a value; `-q`, `--json` and `--quiet` show all of it. */
const MAX_SHORT_VALUE = 48;

export function shortValue(entry: Pick<WireEntry, "value" | "base64">): string {
  const value = shownValue(entry);
  return value.length <= MAX_SHORT_VALUE ? value : `${value.slice(0, MAX_SHORT_VALUE - 3)}...`;
}
