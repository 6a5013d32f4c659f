/**
 * One sink's way through the log of events: each event that it wants, at least once, those of one resource in their order.
 *
 * What fails is parked and tried again on the sink's schedule, and the later ones of its resource wait behind it; those of
 * others go on. After the last attempt it is a dead letter. What the sink postpones is parked too, and holds the later ones
 * if the sink wants that; what it calls obsolete is done with. When nothing at all can be delivered, the feed waits where it
 * is: the log keeps the rest.
 */
import { aborted } from "../../../shared/abort.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { Retries } from "../../retries.ts";
import type { Attempted, Outcome, Sink } from "../../sinks/sink.ts";
import type { FeedProgress, FeedState, ParkedEvent, Store, StoredAttempt, StoredFeed } from "../../store/store.ts";
import { WakeUp } from "../../wake-up.ts";
import { KEPT_DEAD_LETTERS } from "../../store/limits.ts";
import { withoutValue } from "../bodies.ts";
import type { Event } from "../event.ts";
import type { EventLog, LogPage } from "../event-log.ts";
import type { EventMatcher } from "../filter.ts";
import { Lanes } from "./lanes.ts";
import type { ProgressKeeper } from "./progress-keeper.ts";

/** Events that may be parked at one sink: with more, it waits for them before it takes new ones from the log. */
export const MAX_PARKED = 2_000;

/** Of these so many may be of one resource. With more its first is given up, so that no VM fills a sink that all share. */
export const MAX_LANE = 50;

/** Read from the log in one go: as many as are delivered at once, and more where few of them are wanted. */
const MOST_READ_AT_ONCE = 1_024;

/** A place in the log is worth writing down when so many events have been passed over. */
const SAVE_EVERY_PASSED = 1_000;

const FIRST_BACK_OFF_MS = 500;
const LONGEST_BACK_OFF_MS = 30_000;

/** Sinks that failed together are not tried again together: up to so much of a delay is added. */
const JITTER = 0.1;

const MAX_REASON_LENGTH = 500;

/** The longest that a timer of Node's can be. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

export interface FeedOptions {
  id: string;
  sink: Sink;
  wants: EventMatcher;
  /**
   * Asked at each attempt, of what waits for another and what is delivered again too: what its owner may have no more is
   * passed over. All without it; not asked of what is meant for this sink whatever it wants.
   */
  mayHave?: EventMatcher;
  /** Whether events of keys carry the values. */
  carriesValues: boolean;
  log: EventLog;
  store: Pick<Store, "eventsAt">;
  /** As it was left, or where it begins. */
  stored: StoredFeed;
  keeper: ProgressKeeper;
  owner: FeedOwner;
  /** Milliseconds since 1970. */
  now: () => number;
  /** 0 to 1. */
  random: () => number;
}

/** Who is told what became of a sink. */
export interface FeedOwner {
  disabled(feed: Feed, reason: string): void;
  deadLetter(feed: Feed, event: Event, error: string): void;
  /** So many events that it had not come to are no longer kept. */
  missed(feed: Feed, events: number): void;
  attempted(feed: Feed, outcome: StoredAttempt["outcome"]): void;
}

interface Entry {
  event: Event;
  /** Of one that was parked before. */
  parked: ParkedEvent | undefined;
}

/** What a batch changes. */
type Changes = { [Part in "park" | "unpark" | "dead" | "attempts"]: FeedProgress[Part][number][] };

/** What is to be tried, and up to where the log was read for it. */
interface Batch {
  entries: Entry[];
  upTo: number;
}

export class Feed {
  readonly #options: FeedOptions;
  readonly #lanes: Lanes;
  readonly #wakeUp = new WakeUp();
  readonly #backOff = new Retries({ firstMs: FIRST_BACK_OFF_MS, longestMs: LONGEST_BACK_OFF_MS });
  readonly #stopping = new AbortController();
  /** What comes after the batch under way, when there was more. */
  #readAhead: { after: number; page: LogPage | Promise<LogPage> } | undefined;
  /** After the position, and parked or settled all the same. */
  readonly #ahead: Set<number>;
  /** Parked, and to become dead letters for the many behind them. */
  #givenUp: ParkedEvent[] = [];
  readonly #tests = new Map<unknown, (attempt: StoredAttempt) => void>();
  #state: FeedState;
  #savedPosition: number;
  #deadLetters: number;
  /** Why nothing could be delivered the last time. */
  #trouble: string | undefined;
  #running: Promise<void> | undefined;

  constructor(options: FeedOptions) {
    const { parked, deadLetters, position, failures, failingSince, disabled, lastDeliveredAt } = options.stored;
    this.#options = options;
    this.#lanes = new Lanes(parked);
    this.#ahead = new Set(parked.map((event) => event.position).filter((at) => at > position));
    this.#state = { position, failures, failingSince, disabled, lastDeliveredAt };
    this.#savedPosition = position;
    this.#deadLetters = deadLetters;
  }

  get id(): string {
    return this.#options.id;
  }

  get sink(): Sink {
    return this.#options.sink;
  }

  get state(): Readonly<FeedState> {
    return this.#state;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Events of the log that it has not come to. */
  get backlog(): number {
    return this.#options.log.last - this.#state.position;
  }

  get retrying(): number {
    return this.#lanes.size;
  }

  get deadLetters(): number {
    return this.#deadLetters;
  }

  /** @param failed is told of what must not happen; the feed has stopped then */
  start(failed: (error: unknown) => void): void {
    this.#options.sink.start();
    this.#running ??= this.#run(this.#stopping.signal).catch(failed);
  }

  /** There are new events. */
  wake(): void {
    this.#wakeUp.call();
  }

  /** Has events again, from where it stood; what failed is tried at once. */
  enable(): void {
    this.#state = { ...this.#state, disabled: undefined, failures: 0, failingSince: undefined };
    this.#backOff.reset();
    const park: ParkedEvent[] = [];
    const dueAt = this.#options.now();
    for (const first of this.#lanes.free) this.#park({ ...first, dueAt: Math.min(first.dueAt, dueAt) }, park);
    this.#note({ park });
    this.wake();
  }

  /** The store has parked these for another delivery. */
  redeliver(parked: readonly ParkedEvent[], deadLetters: number): void {
    for (const event of parked) {
      this.#lanes.put(event);
      if (event.position > this.#state.position) this.#ahead.add(event.position);
    }
    this.#deadLetters = deadLetters;
    this.wake();
  }

  /** The attempt with the test event whose data has this id; undefined when aborted before there was one. */
  async tested(testId: string, signal: AbortSignal): Promise<StoredAttempt | undefined> {
    const { promise, resolve } = Promise.withResolvers<StoredAttempt | undefined>();
    this.#tests.set(testId, resolve);
    try {
      return await Promise.race([promise, aborted(signal).then(() => undefined)]);
    } finally {
      this.#tests.delete(testId);
    }
  }

  /** Lets the delivery under way end, or hurries it, and closes the sink. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#note({});
    await this.#options.sink.close();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const batch = this.#state.disabled === undefined ? await this.#nextBatch() : undefined;
      if (batch === undefined) await this.#wakeUp.wait(this.#untilDueMs(), signal);
      else await this.#deliver(batch, signal);
    }
  }

  /** Those that are to be tried again, or else new ones. */
  async #nextBatch(): Promise<Batch | undefined> {
    const due = this.#lanes.due(this.#options.now(), this.sink.batchSize);
    const { entries, upTo } = due.length > 0 ? await this.#parkedBatch(due) : await this.#freshBatch();
    return entries.length === 0 ? undefined : { entries, upTo };
  }

  async #parkedBatch(due: readonly ParkedEvent[]): Promise<Batch> {
    const events = await this.#options.store.eventsAt(due.map(({ position }) => position));
    const byPosition = new Map(events.map((event) => [event.position, event]));
    const lost = due.filter(({ position }) => !byPosition.has(position));
    this.#drop(lost);
    // They waited for longer than events are kept.
    if (lost.length > 0) this.#options.owner.missed(this, lost.length);
    const kept = due.flatMap((parked) => {
      const event = byPosition.get(parked.position);
      return event === undefined ? [] : [{ event, parked }];
    });
    const entries = kept.filter(({ event }) => this.#mayHave(event));
    this.#drop(kept.filter((entry) => !entries.includes(entry)).map(({ parked }) => parked));
    return { entries, upTo: this.#state.position };
  }

  #drop(parked: readonly ParkedEvent[]): void {
    if (parked.length === 0) return;
    for (const event of parked) this.#lanes.remove(event);
    this.#note({ unpark: parked.map(({ position }) => position) });
    this.wake();
  }

  async #freshBatch(): Promise<Batch> {
    const entries: Entry[] = [];
    const park: ParkedEvent[] = [];
    let upTo = this.#state.position;
    let limit = this.sink.batchSize;
    const hasRoom = (): boolean => entries.length < this.sink.batchSize && this.#lanes.size < MAX_PARKED;
    while (hasRoom()) {
      const { events, next, missed } = await this.#read(upTo, limit);
      limit = Math.min(2 * limit, MOST_READ_AT_ONCE);
      if (missed) this.#options.owner.missed(this, (events[0]?.position ?? next + 1) - upTo - 1);
      for (const event of events) {
        if (!hasRoom() || (this.#isTest(event) && entries.length > 0))
          return await this.#passOver({ entries, upTo }, park);
        upTo = event.position;
        if (!this.#isWanted(event)) continue;
        if (this.#lanes.holds(event.resourceUUID)) this.#park(this.#parkedNow(event, 0), park);
        else entries.push({ event, parked: undefined });
        this.#lanes.askAgain(event.resourceUUID, this.#options.now());
        // A test is tried alone, so that nothing holds it.
        if (this.#isTest(event)) return await this.#passOver({ entries, upTo }, park);
      }
      if (events.length > 0) continue;
      upTo = next;
      break;
    }
    return await this.#passOver({ entries, upTo }, park);
  }

  /** What was not taken into the batch is settled, or parked. */
  async #passOver({ entries, upTo }: Batch, park: ParkedEvent[]): Promise<Batch> {
    const dead = await this.#buryGivenUp();
    if (entries.length === 0) this.#moveTo(upTo);
    for (const { position } of park) if (position > this.#state.position) this.#ahead.add(position);
    if (park.length > 0 || this.#state.position - this.#savedPosition >= SAVE_EVERY_PASSED) this.#note({ park, dead });
    return { entries, upTo };
  }

  /** What was read while the batch before was delivered, or else now. */
  #read(after: number, limit: number): LogPage | Promise<LogPage> {
    const ahead = this.#readAhead;
    this.#readAhead = undefined;
    return ahead?.after === after ? ahead.page : this.#options.log.read(after, limit);
  }

  /** The store reads while the sink delivers. */
  #beginReading(after: number): void {
    const { log } = this.#options;
    if (log.last <= after) return;
    const page = log.read(after, this.sink.batchSize);
    // Whoever takes the page hears of it; nobody may.
    if (page instanceof Promise) page.catch(() => undefined);
    this.#readAhead = { after, page };
  }

  #isWanted(event: Event): boolean {
    const { id, wants } = this.#options;
    if (this.#ahead.has(event.position)) return false;
    if (event.only !== undefined) return event.only === id;
    if (event.about === id) return false;
    return this.#mayHave(event) && (event.also?.includes(id) === true || wants(event));
  }

  /** Meant for this sink alone, by somebody who waits for what becomes of it. */
  #isTest({ only }: Event): boolean {
    return only === this.id;
  }

  #mayHave(event: Event): boolean {
    const { id, mayHave } = this.#options;
    return mayHave === undefined || this.#isTest(event) || event.also?.includes(id) === true || mayHave(event);
  }

  async #deliver({ entries, upTo }: Batch, signal: AbortSignal): Promise<void> {
    const events = entries.map(({ event }) => (this.#options.carriesValues ? event : withoutValue(event)));
    this.#beginReading(upTo);
    const attempted = await this.sink.deliver(events, signal);
    const changes: Changes = { park: [], unpark: [], dead: [], attempts: [] };
    const unsettled = entries.filter((entry, index) => {
      return !this.#settle(entry, attempted[index] ?? NOT_ANSWERED, changes) && entry.parked === undefined;
    });
    this.#moveTo(this.#leave(entries, unsettled, upTo, changes));
    changes.dead.push(...(await this.#buryGivenUp()));
    this.#note(changes);
    await this.#noteTrouble(attempted, signal);
  }

  /**
   * What is not settled stays in the log, to be read again; when later events are settled it is parked instead, so that those
   * need not be remembered, or they are remembered when it is too many. Answers how far everything is settled.
   */
  #leave(entries: readonly Entry[], unsettled: readonly Entry[], upTo: number, changes: Changes): number {
    const lastSettled = entries.findLast((entry) => !unsettled.includes(entry))?.event.position ?? 0;
    const passed = unsettled.filter(({ event }) => event.position < lastSettled);
    const first = (passed[0] ?? unsettled[0])?.event.position;
    if (first === undefined) return upTo;
    if (!this.#hasRoomFor(passed)) {
      for (const entry of entries) {
        const { position } = entry.event;
        if (entry.parked === undefined && position > first && !unsettled.includes(entry)) this.#ahead.add(position);
      }
      return first - 1;
    }
    for (const { event } of passed) this.#park(this.#parkedNow(event, 0), changes.park);
    const next = unsettled.find(({ event }) => event.position > lastSettled);
    return next === undefined ? upTo : next.event.position - 1;
  }

  /** Without giving up any that waits already. */
  #hasRoomFor(passed: readonly Entry[]): boolean {
    const byResource = Map.groupBy(passed, ({ event }) => event.resourceUUID);
    const isWithin = [...byResource].every(([resource, its]) => {
      return resource === "" || this.#lanes.sizeOf(resource) + its.length <= MAX_LANE;
    });
    return isWithin && this.#lanes.size + passed.length <= MAX_PARKED;
  }

  /** Everything up to there is settled. */
  #moveTo(position: number): void {
    for (const at of this.#ahead) if (at <= position) this.#ahead.delete(at);
    this.#state = { ...this.#state, position };
  }

  /** False when nothing is known of it yet: the next batch has it again. */
  #settle(entry: Entry, attempted: Attempted, changes: Changes): boolean {
    const { event, parked } = entry;
    const { outcome } = attempted;
    if (this.#isTest(event)) return this.#settleTest(entry, attempted, changes);
    switch (outcome.type) {
      case "delivered":
        this.#noteDelivered();
        if (parked !== undefined) this.#unpark(parked, changes);
        this.#noteAttempt(entry, attempted, "delivered", changes);
        return true;
      case "failed":
        this.#settleFailed(entry, attempted, outcome, changes);
        return true;
      case "rejected":
        this.#bury(entry, attempted, outcome.reason, changes);
        return true;
      case "postponed":
        this.#postpone(entry, outcome, changes);
        return true;
      case "obsolete":
        if (parked !== undefined) this.#unpark(parked, changes);
        this.#noteAttempt(entry, attempted, "obsolete", changes);
        return true;
      case "held":
        // Behind one that was parked just now; otherwise there is nothing that it would wait for.
        if (parked !== undefined || !this.#lanes.holds(event.resourceUUID)) return false;
        this.#park(this.#parkedNow(event, 0), changes.park);
        return true;
      case "unavailable":
        return false;
      case "gone":
        this.#disable(`it wants no more events: ${outcome.reason}`);
        this.#noteAttempt(entry, attempted, "failed", changes);
        return false;
      default:
        return unreachable(outcome);
    }
  }

  /** Whoever asked for the test hears of its one attempt, and nothing else comes of it: not even of a failure. */
  #settleTest(entry: Entry, attempted: Attempted, changes: Changes): boolean {
    const { type } = attempted.outcome;
    if (type === "held") return false;
    if (entry.parked !== undefined) this.#unpark(entry.parked, changes);
    if (type === "delivered") this.#noteDelivered();
    this.#noteAttempt(entry, attempted, type === "delivered" ? "delivered" : "failed", changes);
    return true;
  }

  #noteDelivered(): void {
    this.#state = { ...this.#state, failures: 0, failingSince: undefined, lastDeliveredAt: this.#options.now() };
  }

  #settleFailed(
    entry: Entry,
    attempted: Attempted,
    { reason, retryAfterMs = 0 }: Extract<Outcome, { type: "failed" }>,
    changes: Changes,
  ): void {
    const { now, random } = this.#options;
    const attempts = attemptsWith(entry);
    this.#countFailure(reason);
    const delayMs = this.sink.retryScheduleMs[attempts - 1];
    if (delayMs === undefined) {
      this.#bury(entry, attempted, reason, changes);
      return;
    }
    const dueAt = Math.round(now() + Math.max(delayMs * (1 + JITTER * random()), retryAfterMs));
    this.#park({ ...this.#parkedNow(entry.event, attempts), dueAt, error: bounded(reason) }, changes.park);
    this.#noteAttempt(entry, attempted, "failed", changes);
  }

  /** Nothing was tried, so that nothing is counted. */
  #postpone(
    { event, parked }: Entry,
    { reason, forMs, holdsOthers = true }: Extract<Outcome, { type: "postponed" }>,
    changes: Changes,
  ): void {
    const dueAt = Math.round(this.#options.now() + forMs);
    const waiting = this.#parkedNow(event, parked?.attempts ?? 0);
    this.#park({ ...waiting, dueAt, holdsOthers, error: bounded(reason) }, changes.park);
  }

  #countFailure(reason: string): void {
    const now = this.#options.now();
    const { failures, failingSince = now } = this.#state;
    this.#state = { ...this.#state, failures: failures + 1, failingSince };
    const { disableAfter } = this.sink;
    if (disableAfter === undefined || failures + 1 < disableAfter.failures) return;
    if (now - failingSince >= disableAfter.durationMs) this.#disable(`it failed ${failures + 1} times: ${reason}`);
  }

  #bury(entry: Entry, attempted: Attempted, reason: string, changes: Changes): void {
    const { event, parked } = entry;
    const error = bounded(reason);
    if (parked !== undefined) this.#lanes.remove(parked);
    changes.dead.push({ position: event.position, attempts: attemptsWith(entry), error, at: this.#options.now() });
    this.#countDeadLetter();
    this.#noteAttempt(entry, attempted, "dead", changes);
    this.#options.owner.deadLetter(this, event, error);
  }

  /** No more than are kept of them. */
  #countDeadLetter(): void {
    this.#deadLetters = Math.min(this.#deadLetters + 1, KEPT_DEAD_LETTERS);
  }

  /** As many at once as are tried at once: each may be as large as a frame. */
  async #buryGivenUp(): Promise<Changes["dead"]> {
    const givenUp = this.#givenUp;
    this.#givenUp = [];
    const error = `given up because ${MAX_LANE} later events of its resource wait behind it`;
    for (let start = 0; start < givenUp.length; start += this.sink.batchSize) {
      const positions = givenUp.slice(start, start + this.sink.batchSize).map(({ position }) => position);
      for (const event of await this.#options.store.eventsAt(positions)) {
        this.#countDeadLetter();
        this.#options.owner.attempted(this, "dead");
        this.#options.owner.deadLetter(this, event, error);
      }
    }
    const at = this.#options.now();
    return givenUp.map(({ position, attempts }) => ({ position, attempts, error, at }));
  }

  #disable(reason: string): void {
    if (this.#state.disabled !== undefined) return;
    this.#state = { ...this.#state, disabled: bounded(reason) };
    this.#options.owner.disabled(this, bounded(reason));
  }

  /** When there are too many of its resource with it, the first of them is given up. */
  #park(event: ParkedEvent, parked: ParkedEvent[]): void {
    const isNew = this.#lanes.put(event);
    parked.push(event);
    const first = isNew ? this.#lanes.firstOver(MAX_LANE, event.resource) : undefined;
    if (first === undefined) return;
    this.#lanes.remove(first);
    this.#givenUp.push(first);
  }

  #unpark(event: ParkedEvent, changes: Changes): void {
    this.#lanes.remove(event);
    changes.unpark.push(event.position);
  }

  /** Due at once, when nobody holds it. */
  #parkedNow({ position, resourceUUID: resource }: Event, attempts: number): ParkedEvent {
    const now = this.#options.now();
    return { position, resource, attempts, parkedAt: now, dueAt: now, holdsOthers: true, error: undefined };
  }

  #noteAttempt(
    entry: Entry,
    { outcome, durationMs }: Attempted,
    became: StoredAttempt["outcome"],
    changes: Changes,
  ): void {
    const { id: eventId, type, data } = entry.event;
    const words = wordsOf(outcome);
    const attempt: StoredAttempt = {
      eventId,
      type,
      at: this.#options.now(),
      attempt: attemptsWith(entry),
      outcome: became,
      status: "status" in outcome ? outcome.status : undefined,
      durationMs,
      error: words === undefined ? undefined : bounded(words),
    };
    if (this.sink.keepsAttempts) changes.attempts.push(attempt);
    if (type === "SINK.TEST") this.#tests.get(data["test"])?.(attempt);
    this.#options.owner.attempted(this, became);
  }

  #note({ park = [], unpark = [], dead = [], attempts = [] }: Partial<Changes>): void {
    this.#savedPosition = this.#state.position;
    this.#options.keeper.note({ sink: this.id, state: this.#state, park, unpark, dead, attempts });
  }

  /** While nothing can be delivered it is tried less and less often. */
  async #noteTrouble(attempted: readonly Attempted[], signal: AbortSignal): Promise<void> {
    const outcomes = attempted.map(({ outcome }) => outcome);
    const unavailable = outcomes.find((outcome) => outcome.type === "unavailable");
    this.#trouble = unavailable?.reason;
    if (unavailable === undefined || outcomes.some(({ type }) => type === "delivered")) this.#backOff.reset();
    if (unavailable !== undefined) await this.#backOff.wait(signal);
  }

  #untilDueMs(): number {
    if (this.#state.disabled !== undefined) return Infinity;
    return Math.min(this.#lanes.untilDueMs(this.#options.now()), LONGEST_WAIT_MS);
  }
}

/** A sink that answers for fewer events than it was given. */
const NOT_ANSWERED: Attempted = { outcome: { type: "unavailable", reason: "no answer for this event" }, durationMs: 0 };

function wordsOf(outcome: Outcome): string | undefined {
  if (outcome.type === "delivered") return outcome.note;
  return "reason" in outcome ? outcome.reason : undefined;
}

function bounded(text: string): string {
  return text.slice(0, MAX_REASON_LENGTH).toWellFormed();
}

function attemptsWith({ parked }: Entry): number {
  return (parked?.attempts ?? 0) + 1;
}
