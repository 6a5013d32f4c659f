import { eventCursor } from "../../../shared/api/event-schemas.ts";
import { usageError } from "../../../shared/cli/failure.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { EventQuery, EventStreamItem } from "../../service/event-service.ts";
import type { Service } from "../../service/service.ts";
import type { Handlers, Request } from "../handler.ts";

export function eventHandlers({ events }: Pick<Service, "events">): Handlers<"listEvents" | "followEvents"> {
  return {
    listEvents: ({ who, query }) => events.list(who, eventQueryOf(query), query.limit),
    async *followEvents(request) {
      const { who, query, signal } = request;
      const asked = { ...eventQueryOf(query), since: startOf(request) };
      for await (const item of events.follow(who, asked, signal)) yield streamed(item);
    },
  };
}

/** The query's members are named for whoever types them: one of each at a time. */
function eventQueryOf({ since, vm, type, category, key, values }: Request<"followEvents">["query"]): EventQuery {
  const filter = {
    ...(vm && { vms: vm }),
    ...(type && { types: type }),
    ...(category && { categories: category }),
    ...(key && { keys: key }),
  };
  return { filter, since, values: values === true };
}

/** A reader that reconnects says in its header where it is; what it asked for at first is older. */
function startOf({ query, lastEventId }: Request<"followEvents">): string | undefined {
  // An empty one is a reader's that has seen no id yet.
  if (lastEventId === undefined || lastEventId === "") return query.since;
  if (eventCursor.safeParse(lastEventId).success) return lastEventId;
  throw usageError("Last-Event-ID must be LOG:POSITION, as in an event's cursor");
}

function streamed(item: EventStreamItem) {
  switch (item.type) {
    case "event":
      return { event: "event", data: item.event, id: item.event.cursor } as const;
    case "position":
    case "missed":
      return { event: item.type, data: { next: item.next }, id: item.next } as const;
    default:
      return unreachable(item);
  }
}
