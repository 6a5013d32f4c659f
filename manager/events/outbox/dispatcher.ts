/** Feeds every sink from the log of events. */
import { CommandError } from "../../../shared/cli/failure.ts";
import type { Log } from "../../../shared/log.ts";
import type { Sink } from "../../sinks/sink.ts";
import type { FeedState, Store, StoredAttempt, StoredFeed } from "../../store/store.ts";
import { Turns } from "../../turns.ts";
import { type Event, managerEvent, type NewEvent } from "../event.ts";
import type { EventLog } from "../event-log.ts";
import type { EventMatcher } from "../filter.ts";
import { Feed, type FeedOwner } from "./feed.ts";
import { ProgressKeeper } from "./progress-keeper.ts";

export interface SinkOptions {
  id: string;
  sink: Sink;
  wants: EventMatcher;
  carriesValues: boolean;
  /** Sinks that are told when this one is disabled, whatever they want to hear of. */
  tellWhenDisabled: readonly string[];
  /** As {@link FeedOptions.mayHave}. */
  mayHave?: EventMatcher;
  /** A position of the log: what came after it is the first that a new sink has. Without it, what comes after the call. */
  from?: number;
}

export interface DispatcherOptions {
  store: Pick<Store, "loadFeed" | "saveProgress" | "eventsAt" | "removeFeed" | "appendEvents" | "redeliver">;
  log: EventLog;
  /** Where changes of state are told. */
  logger: Log;
  attempted: (sink: string, outcome: StoredAttempt["outcome"]) => void;
  failed: (error: unknown) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** 0 to 1. */
  random?: () => number;
}

/** Dead letters of one sink are told of as an event so often; all of them are kept and counted. */
const TELL_DEAD_LETTERS_EVERY_MS = 60_000;

interface Fed {
  feed: Feed;
  options: SinkOptions;
  toldOfDeadLetterAt: number;
}

export class Dispatcher implements FeedOwner {
  readonly #options: DispatcherOptions;
  readonly #now: () => number;
  readonly #keeper: ProgressKeeper;
  readonly #feeds = new Map<string, Fed>();
  /** Of each sink one thing after the other: one ends before another of the same name begins. */
  readonly #turns = new Map<string, Turns>();
  #isClosed = false;
  readonly #stopListening: () => void;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#keeper = new ProgressKeeper(options.store, options.failed);
    this.#stopListening = options.log.onAppended(() => {
      for (const { feed } of this.#feeds.values()) feed.wake();
    });
  }

  get feeds(): Feed[] {
    return [...this.#feeds.values()].map(({ feed }) => feed);
  }

  feed(id: string): Feed | undefined {
    return this.#feeds.get(id)?.feed;
  }

  /** Begins where the sink stood; a new one has what happens from now on, or from its place. One of the same id is ended first. */
  add(options: SinkOptions): Promise<Feed> {
    const { store, log, failed, random = Math.random } = this.#options;
    const { id, from = log.last } = options;
    return this.#inTurn(id, async () => {
      if (this.#isClosed) throw new CommandError("unreachable", "the manager stops; it starts no sink any more");
      await this.#end(id);
      const stored = (await store.loadFeed(id)) ?? (await this.#begin(id, from));
      const now = this.#now;
      const feed = new Feed({ ...options, stored, log, store, keeper: this.#keeper, owner: this, now, random });
      this.#feeds.set(id, { feed, options, toldOfDeadLetterAt: -Infinity });
      feed.start(failed);
      return feed;
    });
  }

  /** Ends a sink; how far it was is kept. */
  remove(id: string): Promise<void> {
    return this.#inTurn(id, () => this.#end(id));
  }

  /** Ends a sink for good, with what waits for it. */
  forget(id: string): Promise<void> {
    return this.#inTurn(id, async () => {
      await this.#end(id);
      await this.#keeper.drop(id);
      await this.#options.store.removeFeed(id);
      this.#turns.delete(id);
    });
  }

  /** How many are to be delivered again. */
  redeliver(id: string, eventIds: readonly string[] | undefined): Promise<number> {
    const { store } = this.#options;
    // The feed that is told of what the store parks is the one that has it.
    return this.#inTurn(id, async () => {
      const feed = this.feed(id);
      if (feed === undefined) throw new CommandError("failed", `there is no sink '${id}'`);
      await this.#keeper.flush();
      const parked = await store.redeliver(id, eventIds, this.#now());
      const stored = await store.loadFeed(id);
      feed.redeliver(parked, stored?.deadLetters ?? 0);
      return parked.length;
    });
  }

  /** Lets deliveries under way end, and writes down how far each sink is. */
  async close(): Promise<void> {
    this.#stopListening();
    this.#isClosed = true;
    await Promise.all([...this.#turns.keys()].map((id) => this.remove(id)));
    await this.#keeper.flush();
  }

  #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const turns = this.#turns.get(id) ?? new Turns();
    this.#turns.set(id, turns);
    return turns.take(work);
  }

  /** Durable before it is told, so that a crash loses nothing of what happens from now on. */
  async #begin(id: string, from: number): Promise<StoredFeed> {
    const state = beginningAt(from);
    this.#keeper.note({ sink: id, state, park: [], unpark: [], dead: [], attempts: [] });
    await this.#keeper.flush();
    return { ...state, sink: id, parked: [], deadLetters: 0 };
  }

  async #end(id: string): Promise<void> {
    const fed = this.#feeds.get(id);
    this.#feeds.delete(id);
    if (fed === undefined) return;
    await fed.feed.close();
    await this.#keeper.flush();
  }

  // What the feeds tell.

  disabled({ id, sink }: Feed, reason: string): void {
    this.#options.logger.info("sink-disabled", { sink: id, target: sink.target, reason });
    const also = this.#feeds.get(id)?.options.tellWhenDisabled ?? [];
    const data = { sink: id, target: sink.target, reason };
    this.#publish(managerEvent("SINK.DISABLED", this.#now(), { about: id, also, data }));
  }

  deadLetter({ id, sink }: Feed, event: Event, error: string): void {
    const fed = this.#feeds.get(id);
    const now = this.#now();
    if (fed === undefined || now - fed.toldOfDeadLetterAt < TELL_DEAD_LETTERS_EVERY_MS) return;
    fed.toldOfDeadLetterAt = now;
    this.#options.logger.info("sink-dead-letter", { sink: id, target: sink.target, event: event.id, reason: error });
    const data = { sink: id, target: sink.target, event: event.id, type: event.type, reason: error };
    this.#publish(managerEvent("SINK.DEAD-LETTER", now, { about: id, data }));
  }

  missed({ id, sink }: Feed, events: number): void {
    this.#options.logger.info("sink-missed", { sink: id, target: sink.target, events });
    const data = { sink: id, target: sink.target, events };
    this.#publish(managerEvent("SINK.MISSED", this.#now(), { about: id, data }));
  }

  attempted({ id }: Feed, outcome: StoredAttempt["outcome"]): void {
    this.#options.attempted(id, outcome);
  }

  #publish(event: NewEvent): void {
    this.#options.store.appendEvents([event]).catch(this.#options.failed);
  }
}

function beginningAt(position: number): FeedState {
  return { position, failures: 0, failingSince: undefined, disabled: undefined, lastDeliveredAt: undefined };
}
