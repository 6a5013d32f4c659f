import type { VmSummary } from "../../../shared/api/schemas.ts";
import type { Command } from "./command.ts";
import { shownTime } from "./fields.ts";

export const showVm: Command = {
  verb: "show",
  type: "Vm",
  required: {},
  optional: {},
  hasVm: true,
  summary: "shows a virtual machine, its host, and whether its agent answers",
  run({ service, who }, { vm }) {
    const facts = factsOf(service.showVm(who, vm));
    return Promise.resolve(facts.flatMap(([name, value]) => (value === undefined ? [] : [`${name} = ${value}`])));
  },
};

function factsOf(vm: VmSummary): [name: string, value: string | undefined][] {
  return [
    ["Name", vm.name],
    ["Id", vm.id],
    ["Status", vm.status],
    ["Status Since", shownTime(vm.statusSince)],
    ["Host", vm.host],
    ["Inventory", vm.inventory],
    ["Channel", vm.channel],
    ["Link", describeLink(vm.link)],
    ["Agent", vm.agent?.software],
    ["Last Heard", vm.lastHeardAt === undefined ? undefined : shownTime(vm.lastHeardAt)],
    ["Pending Messages", String(vm.pending)],
  ];
}

function describeLink({ state, reason }: VmSummary["link"]): string {
  return reason === undefined ? state : `${state} (${reason})`;
}
