import type { Health } from "../../shared/api/schemas.ts";
import { tableLines } from "../../shared/cli/table.ts";
import type { HealthCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { behindInWords, sinkStateInWords } from "../sink-words.ts";

/** `health`: what works in the manager and what does not. */
export async function health(command: HealthCommand, context: Context): Promise<void> {
  const { output } = context;
  using manager = await openNeededManager(command, context);
  const found = await manager.read("health");
  if (command.style === "json") output.json(found);
  else if (command.style === "quiet") output.line(found.status);
  else for (const line of tableLines(["manager", manager.where], rows(found))) output.line(line);
}

function rows({ status, version, startedAt, inventory, links, messages, peers, sinks }: Health): string[][] {
  return [
    ["status", status],
    ["version", version],
    ["started", agoInWords(startedAt)],
    ...inventory.map(({ name, isConnected, reason, vms }) => {
      const state = isConnected ? vmsInWords(vms) : `not connected${reason === undefined ? "" : `: ${reason}`}`;
      return [name, state];
    }),
    ["links", counted(links)],
    ["messages", counted(messages)],
    ...peersInWords(peers),
    ...sinks.configured.map((sink) => [sink.id, sinkInWords(sink)]),
    ["subscribed sinks", counted(sinks.subscribed)],
  ];
}

/** Where the managers on other hosts are met, and each of them. */
function peersInWords(peers: Health["peers"]): string[][] {
  if (peers === undefined) return [];
  const { broker, state, reason, managers } = peers;
  const found = managers.map(({ host, vms }) => ["", `${host}: ${vmsInWords(vms)}`]);
  return [["other managers", `${state}${reason === undefined ? "" : `: ${reason}`} (${broker})`], ...found];
}

function vmsInWords(vms: number): string {
  return vms === 1 ? "1 VM" : `${vms} VMs`;
}

/** `disconnected: connect ECONNREFUSED 192.0.2.1:5672; 12 waiting` */
function sinkInWords(sink: Health["sinks"]["configured"][number]): string {
  const behind = behindInWords(sink);
  return behind === "" ? sinkStateInWords(sink) : `${sinkStateInWords(sink)}; ${behind}`;
}

/** `3 up, 1 silent` */
function counted(counts: Readonly<Record<string, number>>): string {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  return some.length === 0 ? "none" : some.map(([state, count]) => `${count} ${state}`).join(", ");
}
