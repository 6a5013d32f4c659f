/** Programs that send to one VM through a host's manager and watch it there, and what the guest itself has of it. */
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { readEvents } from "../../../host-cli/managed/event-stream.ts";
import type { ChangedBatch, Problem } from "../../../shared/api/schemas.ts";
import type { Guest } from "../harness/guest.ts";
import type { PeerHost } from "./peer-hosts.ts";

/** Between two messages, and before another attempt. */
const PAUSE_MS = 20;

/** What tells a sender to try again under the same messageId: nothing was done, or nobody knows. */
const WORTH_RETRYING = ["unreachable", "unconfirmed", "conflict"];

/** Sends one numbered message after the other, each again till its host's manager has taken it. */
export class Sender {
  readonly #host: PeerHost;
  readonly #vm: string;
  /** The messageIds of those that were taken; each sets the key of the same name. */
  readonly accepted: string[] = [];
  /** Why messages were sent again. */
  readonly refusals: string[] = [];

  constructor(host: PeerHost, vm: string) {
    this.#host = host;
    this.#vm = vm;
  }

  /** Until aborted; settles when the last one has been taken. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.send();
      await sleep(PAUSE_MS);
    }
  }

  async send(): Promise<void> {
    const messageId = `${this.#host.name}.${this.accepted.length + 1}`;
    while (!(await this.#isTaken(messageId))) await sleep(PAUSE_MS);
    this.accepted.push(messageId);
  }

  async #isTaken(messageId: string): Promise<boolean> {
    const params = { messageId, entries: [{ key: messageId, value: "sent" }] };
    const path = `/v1/vms/${this.#vm}/messages`;
    const { status, body } = await this.#host.manager.post<Problem>(path, { method: "set", params });
    if (status === 200) return true;
    if (!WORTH_RETRYING.includes(body.code)) throw new Error(`${messageId} was refused: ${JSON.stringify(body)}`);
    this.refusals.push(body.detail);
    return false;
  }
}

/** A watch of all keys of a VM, from when it is opened until it is closed. */
export class Watch implements Disposable {
  readonly #response: IncomingMessage;
  /** In the order in which they came, from the last snapshot on: who gets one forgets what came before. */
  readonly changes: { key: string; revision: number }[] = [];
  /** It is over, of itself. */
  hasEnded = false;

  private constructor(response: IncomingMessage) {
    this.#response = response;
    void this.#read().catch(() => undefined);
  }

  static async open({ manager }: PeerHost, vm: string): Promise<Watch> {
    const asking = request({ socketPath: manager.socketPath, path: `/v1/vms/${vm}/watch`, agent: false }).end();
    const [response] = (await once(asking, "response")) as [IncomingMessage];
    return new Watch(response);
  }

  [Symbol.dispose](): void {
    this.#response.destroy();
  }

  async #read(): Promise<void> {
    try {
      for await (const { event, data } of readEvents(this.#response as AsyncIterable<Buffer>)) {
        if (event === "changed") this.#note(JSON.parse(data) as ChangedBatch);
      }
    } finally {
      this.hasEnded = true;
    }
  }

  #note({ changes, resync }: ChangedBatch): void {
    if (resync) this.changes.length = 0;
    this.changes.push(...changes.map(({ key, revision }) => ({ key, revision })));
  }
}

/** What the agent keeps on the guest's disk. Every change counts the revision up by one. */
export interface GuestCache {
  revision: number;
  entries: { key: string; messageId: string; revision: number }[];
}

/** Read by qemu-ga: no manager and no agent has a say in it. */
export async function cacheOf(guest: Guest): Promise<GuestCache> {
  return JSON.parse(await guest.readText("/var/lib/vmmessage/cache.json")) as GuestCache;
}
