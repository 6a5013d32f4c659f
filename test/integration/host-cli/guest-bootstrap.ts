/** Plays the guest's side of a bootstrap with the agent's own commands: waits for the commit, and shows how a run fares. */
import { randomBytes } from "node:crypto";
import { vi } from "vitest";
import { type BootstrapReport, COMMIT_KEY, REPORT_KEY } from "../../../shared/bootstrap.ts";

interface CommandResult {
  stdout: string | Buffer;
}

/** Long enough for a machine that is busy with other tests. */
const SOON = { timeout: 30_000, interval: 50 };

export class GuestBootstrap {
  readonly #run: (...args: string[]) => Promise<CommandResult>;
  #current = newRun();
  #messageId: string | null = null;

  /** @param run runs `agent` with these arguments */
  constructor(run: (...args: string[]) => Promise<CommandResult>) {
    this.#run = run;
  }

  /** What is reported from now on is of another run. */
  beginRun(): void {
    this.#current = newRun();
  }

  /** Settles with the commit when there is one, or when it is this one. A new run begins. */
  async commit(wanted?: string): Promise<string> {
    this.beginRun();
    const { value, messageId } = await vi.waitUntil(async () => {
      const entry = await this.#commitEntry();
      return (wanted === undefined || entry?.value === wanted) && entry;
    }, SOON);
    this.#messageId = messageId;
    return value;
  }

  async #commitEntry(): Promise<{ value: string; messageId: string } | undefined> {
    const { stdout } = await this.#run("-g", COMMIT_KEY, "--json");
    const answer = JSON.parse(stdout.toString()) as { value: string; messageId: string } | { error: object };
    return "error" in answer ? undefined : answer;
  }

  /** Of the run by the last commit that was waited for, unless it says otherwise. */
  async report(more: Pick<BootstrapReport, "commit" | "state" | "modules"> & Partial<BootstrapReport>): Promise<void> {
    const head = { run: this.#current, target: "configure", instance: "i-1", messageId: this.#messageId };
    await this.show(JSON.stringify({ ...head, startedAt: new Date().toISOString(), ...more }));
  }

  /** Whatever it is. */
  async show(text: string): Promise<void> {
    await this.#run("-p", `${REPORT_KEY}=${text}`);
  }
}

function newRun(): string {
  return randomBytes(8).toString("hex");
}
