import type { Command } from "./command.ts";

export const listVm: Command = {
  verb: "list",
  type: "Vm",
  required: {},
  optional: {},
  hasVm: false,
  summary: "lists the virtual machines",
  run({ service, who }) {
    const vms = service.listVms(who);
    return Promise.resolve(vms.map(({ id, name }) => `id:${id}  name:${name}`));
  },
};
