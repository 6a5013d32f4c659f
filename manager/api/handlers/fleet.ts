import type { FleetEvent } from "../../../shared/api/schemas.ts";
import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

export function fleetHandlers(service: Service): Handlers<"sendFleet"> {
  return {
    async *sendFleet({ who, body, signal }) {
      for await (const event of service.fleet(who, body, signal)) yield streamed(event);
    },
  };
}

function streamed(event: FleetEvent) {
  switch (event.type) {
    case "begin":
      return { event: "begin", data: { vms: event.vms } } as const;
    case "result":
      return { event: "result", data: event.result } as const;
    case "summary":
      return { event: "summary", data: event.summary } as const;
  }
}
