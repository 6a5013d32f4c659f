import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

export function monitorHandlers({ monitor }: Pick<Service, "monitor">): Handlers<"listHealth" | "showHealth"> {
  return {
    listHealth: ({ who }) => ({ vms: monitor.list(who) }),
    showHealth: ({ who, params }) => monitor.show(who, params.vm),
  };
}
