import { usageError } from "../../../shared/cli/failure.ts";
import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

type VmEndpoint = "listVms" | "showVm" | "forgetVm" | "infoVm" | "pingVm" | "statsVm";

export function vmHandlers(service: Service): Handlers<VmEndpoint> {
  return {
    listVms: ({ who, query }) => {
      if (query.everywhere !== true) return { vms: service.listVms(who) };
      throw usageError("no broker for managers is configured here; see `peers` in manager.json");
    },
    showVm: ({ who, params }) => service.showVm(who, params.vm),
    forgetVm: async ({ who, params }) => {
      await service.forgetVm(who, params.vm);
      return {};
    },
    infoVm: ({ who, params }) => service.info(who, params.vm),
    pingVm: ({ who, params }) => service.ping(who, params.vm),
    statsVm: ({ who, params }) => service.stats(who, params.vm),
  };
}
