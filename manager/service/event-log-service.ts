/** Events for whoever may see them. */
import type { EventPage } from "../../shared/api/event-schemas.ts";
import type { Principal } from "../access/principal.ts";
import { matcherOf, maySeeEvent } from "../events/filter.ts";
import type { EventReader, Reading } from "../events/reader.ts";
import type { EventQuery, EventService, EventStreamItem } from "./event-service.ts";

const DEFAULT_LIMIT = 100;

export class EventLogService implements EventService {
  readonly #reader: EventReader;

  constructor(reader: EventReader) {
    this.#reader = reader;
  }

  list(who: Principal, query: EventQuery, limit = DEFAULT_LIMIT): Promise<EventPage> {
    return this.#reader.page(readingOf(who, query), limit);
  }

  follow(who: Principal, query: EventQuery, signal: AbortSignal): AsyncIterable<EventStreamItem> {
    return this.#reader.follow(readingOf(who, query), signal);
  }
}

function readingOf(who: Principal, { filter, since, values }: EventQuery): Reading {
  const matches = matcherOf(filter);
  return { since, values, wants: (event) => matches(event) && maySeeEvent(who, event) };
}
