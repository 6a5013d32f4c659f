/**
 * Watches from each host on the other one's guest while things go wrong: `vmmessage watch` as it is, which nobody starts again. Their
 * judgement: each came back by itself, and has told of the last state of every key, and of nothing older after something newer.
 */
import { expect } from "vitest";
import type { KeyList } from "../../../shared/api/schemas.ts";
import type { WireEntry } from "../../../shared/protocol/message.ts";
import type { Running } from "../../integration/host-cli/programs.ts";
import { waitFor } from "../harness/wait-for.ts";
import { ChangingKey } from "./changing-key.ts";
import type { Host, Lab } from "./lab.ts";

/** Two managers that have met are told of what was missed within this; a watcher's own is looked for once a second. */
const CAUGHT_UP_TIMEOUT_MS = 60_000;

/** What `vmmessage watch` says when it hears nothing more. */
const INTERRUPTED = /is away|the connection to the manager was lost/g;
const LOST_OWN_MANAGER = /the connection to the manager was lost/g;

type Change = Pick<WireEntry, "key" | "revision" | "value">;

/** A line of `vmmessage watch --json`; the last one when it fails. */
type Line = { resync: true } | Change | { error: object };

export class Watching implements AsyncDisposable {
  readonly #prefix: string;
  readonly #watches: Watch[];
  readonly #changing: ReadonlyMap<Host, ChangingKey>;

  private constructor(prefix: string, watches: Watch[], changing: ReadonlyMap<Host, ChangingKey>) {
    this.#prefix = prefix;
    this.#watches = watches;
    this.#changing = changing;
  }

  /** On all keys that begin with `prefix`; `start` starts `vmmessage`, and sees to its end. */
  static async begin(prefix: string, lab: Lab, start: Lab["startVmmessage"]): Promise<Watching> {
    const watches = lab.hosts.map((from) => {
      const to = lab.otherThan(from);
      return new Watch(to, start(from, "watch", prefix, "-v", to.vm, "--json"));
    });
    await Promise.all(watches.map((watch) => watch.untilBegun()));
    const changing = lab.hosts.map(async (host) => {
      return [host, await ChangingKey.start(host.guest, `${prefix}of-the-guest`)] as const;
    });
    return new Watching(prefix, watches, new Map(await Promise.all(changing)));
  }

  /** How often each guest has changed its own key, which it does no more. */
  async endChanges(): Promise<Map<Host, number>> {
    const counts = [...this.#changing].map(async ([host, key]) => [host, await key.stop()] as const);
    return new Map(await Promise.all(counts));
  }

  /** The guests are those of the next test, too. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.endChanges();
  }

  /** When nobody changes anything any more. */
  async judge(): Promise<void> {
    for (const watch of this.#watches) await watch.judge(this.#prefix);
  }

  /** How often watches said that they hear nothing more: in all, and since their own manager was gone. */
  get interruptions(): { all: number; byOwnManager: number } {
    const count = (words: RegExp): number => {
      return this.#watches.reduce((sum, { notes }) => sum + (notes.match(words)?.length ?? 0), 0);
    };
    return { all: count(INTERRUPTED), byOwnManager: count(LOST_OWN_MANAGER) };
  }
}

class Watch {
  readonly #to: Host;
  readonly #running: Running;

  constructor(to: Host, running: Running) {
    this.#to = to;
    this.#running = running;
  }

  get notes(): string {
    return this.#running.stderr;
  }

  async untilBegun(): Promise<void> {
    await waitFor(`a watch of ${this.#to.vm} to begin`, () => this.#lines.length > 0);
  }

  async judge(prefix: string): Promise<void> {
    const { vm, manager } = this.#to;
    const { body } = await manager.get<KeyList>(`/v1/vms/${vm}/keys?prefix=${prefix}`);
    const newest = Math.max(...body.entries.map(({ revision }) => revision));
    const hasAll = (): boolean => this.#hasEnded || this.#shown.at(-1)?.revision === newest;
    await waitFor(`revision ${newest} of ${vm}`, hasAll, { timeoutMs: CAUGHT_UP_TIMEOUT_MS }).catch(this.#withWords);
    if (this.#hasEnded) this.#withWords(`the watch of ${vm} ended by itself`);
    expect(this.#wentBack(), `what was told of ${vm} after something newer`).toEqual([]);
    const last = new Map(body.entries.map((entry) => [entry.key, stateOf(entry)]));
    expect(this.#known(), `what is known of ${vm}`).toEqual(last);
  }

  /** What a reader knows who takes in every line. */
  #known(): Map<string, object> {
    const known = new Map<string, object>();
    for (const line of this.#lines) {
      if ("resync" in line) known.clear();
      else if ("key" in line) known.set(line.key, stateOf(line));
    }
    return known;
  }

  /** What is older than what was told of its key before, or out of order; a new beginning may tell the same once more. */
  #wentBack(): object[] {
    const revisions = new Map<string, number>();
    const wrong: object[] = [];
    let before = 0;
    for (const line of this.#lines) {
      if ("resync" in line) before = 0;
      if (!("key" in line)) continue;
      const { key, revision } = line;
      const known = revisions.get(key) ?? 0;
      if (revision <= before || revision < known) wrong.push({ key, revision, before, known });
      revisions.set(key, revision);
      before = revision;
    }
    return wrong;
  }

  get #hasEnded(): boolean {
    return this.#running.child.exitCode !== null;
  }

  readonly #withWords = (error: unknown): never => {
    const last = this.#running.stdout.trimEnd().split("\n").at(-1) ?? "";
    throw new Error(`${String(error)}\nit said at last: ${last}\n${this.notes}`);
  };

  get #shown(): Change[] {
    return this.#lines.filter((line) => "key" in line);
  }

  /** The last one may not have come to its end. */
  get #lines(): Line[] {
    const lines = this.#running.stdout.split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as Line);
  }
}

function stateOf({ revision, value }: Change): object {
  return { revision, value };
}
