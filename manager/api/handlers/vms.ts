import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

type VmEndpoint = "listVms" | "showVm" | "forgetVm" | "infoVm" | "pingVm" | "statsVm";

export function vmHandlers(service: Service): Handlers<VmEndpoint> {
  return {
    listVms: ({ who }) => ({ vms: service.listVms(who) }),
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
