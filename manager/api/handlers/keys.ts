import { watchPosition } from "../../../shared/api/endpoints.ts";
import { usageError } from "../../../shared/cli/failure.ts";
import type { Cursor } from "../../../shared/protocol/message.ts";
import type { Service, WatchEvent } from "../../service/service.ts";
import type { Handlers, Request } from "../handler.ts";

export function keyHandlers(service: Service): Handlers<"listKeys" | "getKey" | "watchKeys"> {
  return {
    listKeys: ({ who, params, query }) => service.listKeys(who, params.vm, query.prefix),
    getKey: ({ who, params }) => service.getKey(who, params.vm, params.key),
    async *watchKeys(request) {
      const { who, params, query, signal } = request;
      const options = { prefix: query.prefix, since: watchStartOf(request) };
      for await (const event of service.watchKeys(who, params.vm, options, signal)) yield streamed(event);
    },
  };
}

/**
 * What the reader of a watch knows already: one that reconnects says so in its header; what it asked for at first is older.
 * Throws CommandError when that is no place.
 */
export function watchStartOf({
  query,
  lastEventId,
}: Pick<Request<"watchKeys">, "query" | "lastEventId">): Cursor | undefined {
  // An empty one is a reader's that has seen no id yet.
  const position = lastEventId === undefined || lastEventId === "" ? query.since : lastEventId;
  if (position === undefined) return undefined;
  if (!watchPosition.safeParse(position).success) {
    throw usageError("Last-Event-ID must be EPOCH:REVISION, as in an event's id");
  }
  const [epoch = "", revision] = position.split(":");
  return { epoch, revision: Number(revision) };
}

function streamed(event: WatchEvent) {
  switch (event.type) {
    case "link":
      return { event: "link", data: event.vm } as const;
    case "changed": {
      const { epoch, revision, more } = event.batch;
      // Only the last batch of a change is a place to resume from: the ones before it are a part of that revision.
      return { event: "changed", data: event.batch, id: more ? undefined : `${epoch}:${revision}` } as const;
    }
  }
}
