import { aborted } from "../../shared/abort.ts";
import type { EventFilter, ShownEvent } from "../../shared/api/event-schemas.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { isPattern } from "../../shared/vm-pattern.ts";
import type { Context } from "../context.ts";
import type { EventsCommand } from "../event-command.ts";
import { eventLine } from "../event-line.ts";
import type { Manager } from "../managed/manager.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { resumedStream } from "../managed/resumed-stream.ts";

/** The newest, unless told otherwise. */
const DEFAULT_LIMIT = 50;

/** Of the largest events that guests can send, a page is still an answer that we take. */
const PAGE_SIZE = 250;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** `events`: the newest, or those since a cursor; with `--follow` also what comes, till a signal or till nobody reads. */
export async function events(command: EventsCommand, context: Context): Promise<void> {
  const { output } = context;
  const { follow, style, timeoutMs } = command;
  // Each page has the time of an answer; how long they all take is up to whoever reads them.
  const lasts = follow || timeoutMs === undefined ? "endless" : "answer";
  using manager = await openNeededManager(command, context, { lasts });
  await assertKnown(command.filter, manager);
  const reader = new EventReader(manager, command, context);
  if (follow && style === "transcript") output.note("following events, till Ctrl-C");
  await Promise.race([follow ? reader.follow() : reader.list(), aborted(output.readerGone)]);
  if (!follow && style !== "quiet" && !output.readerGone.aborted) output.note(`next: --since ${reader.next ?? ""}`);
}

/** A name with a typing error would be answered with no events, and followed for ever. A UUID may be of a VM that is gone. */
async function assertKnown({ vms = [] }: EventFilter, manager: Manager): Promise<void> {
  for (const vm of vms) if (!isPattern(vm) && !UUID.test(vm)) await manager.read("showVm", { params: { vm } });
}

/** Prints, and knows where it is. */
class EventReader {
  /** After what was printed last; undefined before anything was asked. */
  next: string | undefined;
  readonly #manager: Manager;
  readonly #command: EventsCommand;
  readonly #context: Context;

  constructor(manager: Manager, command: EventsCommand, context: Context) {
    this.#manager = manager;
    this.#command = command;
    this.#context = context;
    this.next = command.since;
  }

  async list(): Promise<void> {
    const { since, limit } = this.#command;
    let left = limit ?? (since === undefined ? DEFAULT_LIMIT : Infinity);
    for (let isMore = true; isMore && left > 0;) {
      // From the newest there is no way back: they all come in one page.
      const size = since === undefined ? left : Math.min(left, PAGE_SIZE);
      const page = await this.#manager.read("listEvents", { query: this.#query({ limit: size }) });
      if (page.missed) this.#tellMissed();
      for (const event of page.events) await this.#print(event);
      this.next = page.next;
      left -= page.events.length;
      isMore = page.more && since !== undefined;
    }
  }

  async follow(): Promise<never> {
    const { output } = this.#context;
    const note = (text: string): void => {
      output.note(text);
    };
    await this.list();
    const asked = () => ({ query: this.#query() });
    const signal = AbortSignal.any([this.#manager.signal, output.readerGone]);
    const stream = resumedStream(this.#manager, "followEvents", asked, { note, signal });
    for (;;) {
      const { value: item } = await stream.next();
      switch (item.event) {
        case "event":
          await this.#print(item.data);
          this.next = item.data.cursor;
          break;
        case "missed":
          this.#tellMissed();
          this.next = item.data.next;
          break;
        case "position":
          this.next = item.data.next;
          break;
        default:
          unreachable(item);
      }
    }
  }

  #query(more: { limit?: number } = {}) {
    const { filter, values } = this.#command;
    return { ...filterQuery(filter), since: this.next, ...(values && { values }), ...more };
  }

  async #print(event: ShownEvent): Promise<void> {
    const { output } = this.#context;
    if (this.#command.style === "json") output.json(event);
    else output.line(eventLine(event));
    await output.drained();
  }

  #tellMissed(): void {
    this.#context.output.note(`events after ${this.next ?? ""} are missing: they are no longer kept`);
  }
}

function filterQuery({ vms, types, categories, keys }: EventFilter) {
  return { vm: vms, type: types, category: categories, key: keys };
}
