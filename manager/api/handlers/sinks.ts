import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

type SinkEndpoint = "listSinks" | "listDeadLetters" | "listDeliveries" | "redeliver" | "enableSink" | "testSink";

export function sinkHandlers({ sinks }: Pick<Service, "sinks">): Handlers<SinkEndpoint> {
  return {
    listSinks: ({ who }) => ({ sinks: sinks.list(who) }),
    listDeadLetters: async ({ who, params, query }) => ({
      deadLetters: await sinks.deadLetters(who, params.sink, query.limit),
    }),
    listDeliveries: async ({ who, params, query }) => ({
      deliveries: await sinks.deliveries(who, params.sink, query.limit),
    }),
    redeliver: async ({ who, params, body }) => ({
      redelivered: await sinks.redeliver(who, params.sink, body.events),
    }),
    enableSink: ({ who, params }) => sinks.enable(who, params.sink),
    testSink: ({ who, params, signal }) => sinks.test(who, params.sink, signal),
  };
}
