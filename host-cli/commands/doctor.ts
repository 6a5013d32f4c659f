import { asFailure, CommandError } from "../../shared/cli/failure.ts";
import type { Output } from "../../shared/cli/output.ts";
import { DEFAULT_TIMEOUT_MS } from "../../shared/client.ts";
import { version } from "../../shared/version.ts";
import type { PlainCommand } from "../command.ts";
import { findVm } from "../find-vm/find-vm.ts";
import { Guest } from "../guest.ts";
import type { Context } from "../open-guest.ts";

/** `doctor`: goes the way a message goes, says at each step what it found, and stops at the one that fails. */
export async function doctor({ target, timeoutMs, style }: PlainCommand, context: Context): Promise<void> {
  const answerTimeoutMs = timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const signal = AbortSignal.any([context.interrupt, AbortSignal.timeout(answerTimeoutMs)]);
  const report = new Report(style === "json" ? undefined : context.output);

  const vm = await report.check("VM", () => findVm(target, signal));
  report.found(`'${vm.name}' (${vm.foundIn}): ${vm.status}, channel ${vm.socketPath ?? "none"}`);
  await using guest = await report.check("agent", () => Guest.open(vm, { answerTimeoutMs, signal }));
  const { software, version: protocol, clonedFrom } = guest.greeting;
  report.found(`${software} answers in protocol version ${protocol}; this is vmmessage ${version}`);
  if (clonedFrom !== undefined) report.note(`a clone of ${clonedFrom}: the keys of that VM were set aside`);
  const facts = await report.check("cache", () => guest.read("info", {}));
  report.found(`${facts.keys} keys, ${facts.usedBytes} of ${facts.limitBytes} bytes, epoch ${facts.epoch}`);
  if (facts.damagedFrames > 0) report.note(`${facts.damagedFrames} damaged frames arrived in the guest`);
  for (const key of facts.unprojectedKeys) report.note(`the key '${key}' is not a file in the guest`);
  for (const note of facts.notes) report.note(note);
  if (style === "json") context.output.json({ vm: vm.name, checks: report.checks, notes: report.notes });
}

interface Check {
  check: string;
  ok: boolean;
  found?: string;
}

/** Prints the steps as they happen, where they are for people, and keeps them for programs. */
class Report {
  readonly checks: Check[] = [];
  readonly notes: string[] = [];
  readonly #output: Output | undefined;

  constructor(output: Output | undefined) {
    this.#output = output;
  }

  /** Takes a step. Its failure carries the report so far. */
  async check<T>(name: string, step: () => Promise<T>): Promise<T> {
    try {
      const result = await step();
      this.checks.push({ check: name, ok: true });
      return result;
    } catch (error) {
      const failure = asFailure(error);
      if (!(failure instanceof CommandError)) throw failure;
      this.checks.push({ check: name, ok: false });
      this.#output?.line(`FAIL  ${name}`);
      throw new CommandError(failure.code, failure.message, { ...failure.details, checks: this.checks });
    }
  }

  /** What the step found. */
  found(text: string): void {
    const last = this.checks.at(-1);
    if (last === undefined) return;
    last.found = text;
    this.#output?.line(`ok    ${last.check}: ${text}`);
  }

  /** Something to know that is no failure. */
  note(text: string): void {
    this.notes.push(text);
    this.#output?.line(`note  ${text}`);
  }
}
