import { asFailure, CommandError } from "../../shared/cli/failure.ts";
import type { Output } from "../../shared/cli/output.ts";
import type { Result } from "../../shared/protocol/message.ts";
import type { PlainCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { doorOf } from "../door.ts";

/** `doctor`: goes the way a message goes, says at each step what it found, and stops at the one that fails. */
export async function doctor(command: PlainCommand, context: Context): Promise<void> {
  const report = new Report(command.style === "json" ? undefined : context.output);
  const door = await doorOf(command, context);
  const vm =
    door.type === "manager"
      ? await (await import("../managed/diagnose.ts")).diagnose(door.address, { command, context, report })
      : await (await import("../direct/diagnose.ts")).diagnose({ command, context, report });
  if (command.style === "json") context.output.json({ vm, checks: report.checks, notes: report.notes });
}

interface Check {
  check: string;
  ok: boolean;
  found?: string;
}

/** Prints the steps as they happen, where they are for people, and keeps them for programs. */
export class Report {
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

  /** What the agent says of its cache, and what is odd about it. */
  foundCache(facts: Result<"info">): void {
    this.found(`${facts.keys} keys, ${facts.usedBytes} of ${facts.limitBytes} bytes, epoch ${facts.epoch}`);
    if (facts.damagedFrames > 0) this.note(`${facts.damagedFrames} damaged frames arrived in the guest`);
    for (const key of facts.unprojectedKeys) this.note(`the key '${key}' is not a file in the guest`);
    for (const note of facts.notes) this.note(note);
  }

  /** Something to know that is no failure. */
  note(text: string): void {
    this.notes.push(text);
    this.#output?.line(`note  ${text}`);
  }
}
