/**
 * Failures of VMs to OpenStack Masakari, which recovers them: each once, though answers are lost and the manager is killed,
 * and a second failure of a VM also where Masakari would take it for the first.
 */
import type { Log } from "../../../shared/log.ts";
import type { ConnectionState } from "../../connection-state.ts";
import type { Event } from "../../events/event.ts";
import type { Store } from "../../store/store.ts";
import type { MasakariEndpoint, MasakariEvent } from "../endpoint.ts";
import { OrderedDelivery, stopped } from "../ordered-delivery.ts";
import type { Attempted, Outcome, Sink } from "../sink.ts";
import { MasakariClient, notificationIdIn, refusalOf, type Reply } from "./masakari-client.ts";
import { DUPLICATE_WINDOW_MS, notificationOf } from "./notification.ts";
import { type Entry, SentJournal } from "./sent-journal.ts";
import { ToldTogether } from "./told-together.ts";

/** Masakari's API may sleep in each request, with a worker of its own for each. Not measured. */
const REQUESTS_AT_ONCE = 16;
const BATCH_SIZE = 32;

export interface MasakariSinkOptions {
  endpoint: MasakariEndpoint;
  journal: Pick<Store, "journal" | "saveJournalEntry" | "removeJournalEntry">;
  /** Whether what an event tells still stands: a VM that is well again must not be recovered. */
  stands: (event: Event) => boolean;
  log: Log;
  /** Milliseconds since 1970. */
  now?: () => number;
}

export class MasakariSink implements Sink {
  readonly type = "masakari";
  readonly target: string;
  readonly batchSize = BATCH_SIZE;
  readonly retryScheduleMs: readonly number[];
  /** Never: the next failure of a VM is not to go untold for the many that came before it. */
  readonly disableAfter = undefined;
  readonly keepsAttempts = true;
  readonly #options: MasakariSinkOptions;
  readonly #now: () => number;
  readonly #client: MasakariClient;
  readonly #journal: SentJournal;
  readonly #together = new ToldTogether();
  readonly #delivery: OrderedDelivery;
  readonly #closing = new AbortController();
  #starting: Promise<void> | undefined;

  constructor(options: MasakariSinkOptions) {
    const { endpoint, now = Date.now } = options;
    this.#options = options;
    this.#now = now;
    this.#client = new MasakariClient({ endpoint, now });
    this.#journal = new SentJournal({ store: options.journal, sink: endpoint.name, now });
    this.target = this.#client.target;
    this.retryScheduleMs = Array.from({ length: endpoint.retryMax }, () => endpoint.retryIntervalMs);
    this.#delivery = new OrderedDelivery({
      resourcesAtOnce: REQUESTS_AT_ONCE,
      attempt: (event, signal) => this.#attempt(event, signal),
    });
  }

  deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    for (const event of events) {
      const name = this.#eventOf(event);
      if (name !== undefined) this.#together.see({ vmId: event.resourceUUID, event: name }, event.position);
    }
    return this.#delivery.deliver(events, signal);
  }

  connection(): ConnectionState {
    return { state: "idle" };
  }

  /** A wrong password is better known before the first VM hangs. */
  start(): void {
    this.#starting ??= this.#try(this.#closing.signal).then((outcome) => {
      if (outcome.type !== "failed") return;
      this.#options.log.warn("masakari-unusable", { target: this.target, reason: outcome.reason });
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#delivery.close();
    await this.#client.close();
    await this.#starting;
  }

  async #attempt(event: Event, stop: AbortSignal): Promise<Outcome> {
    if (event.type === "SINK.TEST") return await this.#try(stop);
    try {
      await this.#journal.load();
      return await this.#tell(event, stop);
    } catch (error) {
      return failure(error, stop);
    }
  }

  /** Whether Masakari would be told: a failure that did not happen is not for trying. */
  async #try(stop: AbortSignal): Promise<Outcome> {
    try {
      await this.#client.check(stop);
      return { type: "delivered" };
    } catch (error) {
      return failure(error, stop);
    }
  }

  async #tell(event: Event, stop: AbortSignal): Promise<Outcome> {
    const known = this.#journal.entryOf(event.id);
    if (known?.sentAt !== undefined) return { type: "delivered", note: "Masakari was told of it before" };
    const name = this.#eventOf(event);
    if (name === undefined) return { type: "rejected", reason: `Masakari is not told of ${event.type} here` };
    if (!this.#options.stands(event)) return { type: "obsolete", reason: "what it tells is over" };
    const entry = known ?? this.#planned(event, name);
    if (this.#together.has(entry, event.position)) return { type: "obsolete", reason: TOLD_TOGETHER };
    const forMs = known === undefined ? this.#holdMs(entry) : 0;
    if (forMs > 0) return { type: "postponed", reason: HELD, forMs, holdsOthers: false };
    // What has no token is not on its way: it keeps no other from its window.
    await this.#client.ready(stop);
    if (known === undefined) await this.#journal.save(entry);
    const reply = await this.#send(entry, stop);
    // Of one that was sent before, that attempt may have arrived.
    if (known === undefined && isRefused(reply)) await this.#journal.forget(entry);
    return this.#outcomeOf(reply);
  }

  #eventOf({ type }: Event): MasakariEvent | undefined {
    const { events } = this.#options.endpoint;
    return Object.hasOwn(events, type) ? events[type] : undefined;
  }

  /** Generated when it happened, or later if Masakari would take it for one that it may know. */
  #planned({ id: eventId, resourceUUID: vmId, time }: Event, event: MasakariEvent): Entry {
    const generatedAt = Math.max(time, this.#journal.newFrom({ vmId, event }));
    return { eventId, vmId, event, generatedAt, sentAt: undefined, notificationId: undefined };
  }

  /** Until the time that it is given has come. A time further off than any window says that the clock was set back. */
  #holdMs({ generatedAt }: Entry): number {
    const ms = generatedAt - this.#now();
    return ms > DUPLICATE_WINDOW_MS ? 0 : ms;
  }

  async #send(entry: Entry, stop: AbortSignal): Promise<Reply> {
    const lastSeen = this.#together.lastSeen(entry);
    const reply = await this.#client.notify(notificationOf(entry, this.#options.endpoint.hostname), stop);
    // One that is known already may have come before the others happened.
    if (reply.status === 202) this.#together.tell(entry, lastSeen);
    if (isTaken(reply)) {
      await this.#journal.save({ ...entry, sentAt: this.#now(), notificationId: notificationIdIn(reply) });
    }
    return reply;
  }

  #outcomeOf(reply: Reply): Outcome {
    const { hostname, login } = this.#options.endpoint;
    const { status, words } = reply;
    switch (status) {
      case 202:
        return { type: "delivered", status };
      case 409:
        if (isTaken(reply)) return { type: "delivered", status, note: `it was known already: ${words}` };
        return {
          type: "failed",
          status,
          reason: `${refusalOf(reply, login)}; it takes nothing of the host '${hostname}' until its maintenance is over`,
        };
      case 400: {
        const why = `${refusalOf(reply, login)} of what it was told of the host '${hostname}'`;
        const remedy = /host/i.test(words) ? "; is that what it calls this host?" : "";
        return { type: "rejected", status, reason: why + remedy };
      }
      default:
        return { type: "failed", status, reason: refusalOf(reply, login) };
    }
  }
}

const HELD = "Masakari would take it for the failure before; it is held for three minutes after that";
const TOLD_TOGETHER = "a notification of the same payload, sent after it happened, told it too";

/** What is not answered may have arrived. */
function failure(error: unknown, stop: AbortSignal): Outcome {
  return stop.aborted ? stopped : { type: "failed", reason: (error as Error).message };
}

/** Refused as one that it has already. A host under maintenance it refuses so too, and then it has nothing. */
function isTaken({ status, words }: Reply): boolean {
  return status === 202 || (status === 409 && !/maintenance/i.test(words));
}

/** Masakari has nothing of it. Its own faults (5xx) leave that open, and so do time-outs of what stands before it. */
function isRefused(reply: Reply): boolean {
  return reply.status >= 300 && reply.status < 500 && reply.status !== 408 && !isTaken(reply);
}
