import type {
  ApplicationHealth,
  ChannelEvidence,
  RecoveryStanding,
  VmHealth,
} from "../../shared/api/monitor-schemas.ts";
import { tableLines } from "../../shared/cli/table.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import type { MonitorCommand } from "../monitor-command.ts";
import { agoInWords } from "../origin.ts";
import { printListing } from "../rows.ts";

const HEADER = ["VM", "STATE", "SINCE", "AGENT", "GUEST-AGENT", "APPLICATIONS"];

/** Applications that a line of the table names. */
const MAX_NAMED = 3;

/** `monitor`: how the guests are, those with problems first; `monitor -v VM`: all that is known of one. */
export async function monitor(command: MonitorCommand, context: Context): Promise<void> {
  const { vm, style } = command;
  const { output } = context;
  using manager = await openNeededManager(command, context);
  if (vm === undefined) {
    printAll((await manager.read("listHealth")).vms, command, context);
    return;
  }
  const health = await manager.read("showHealth", { params: { vm } });
  if (style === "json") output.json(health);
  else if (style === "quiet") output.line(stateInWords(health));
  else for (const line of tableLines(["VM", health.vm.name], facts(health))) output.line(line);
}

function printAll(found: readonly VmHealth[], { style }: MonitorCommand, { output }: Context): void {
  const vms = found.toSorted((a, b) => urgency(a) - urgency(b) || byName(a, b));
  printListing(output, style, {
    items: vms,
    header: HEADER,
    row,
    name: ({ vm }) => vm.name,
    json: { vms },
    none: "the manager knows no VMs",
  });
}

function byName(a: VmHealth, b: VmHealth): number {
  return a.vm.name.localeCompare(b.vm.name, "en", { numeric: true });
}

/** The guest's own failure, that of something in it, what may become one, and the rest. */
function urgency({ isMonitored, state, expectedAgent, applications }: VmHealth): number {
  const inside = [expectedAgent, ...applications].map((subject) => subject?.state);
  if (!isMonitored) return 4;
  if (state === "reported") return 0;
  if (inside.includes("reported")) return 1;
  return state === "error" || inside.includes("error") ? 2 : 3;
}

function row(health: VmHealth): string[] {
  const { vm, since, agent, guestAgent, expectedAgent, applications } = health;
  const agentSeen = expectedAgent?.state === "reported" ? "missing" : (agent?.result ?? "");
  return [
    vm.name,
    stateInWords(health),
    agoInWords(since),
    agentSeen,
    guestAgent?.result ?? "",
    applicationsInWords(applications),
  ];
}

function stateInWords({ isMonitored, state }: VmHealth): string {
  return isMonitored ? state : "not monitored";
}

/** `db, queue reported; 1 error; 2 healthy` */
function applicationsInWords(applications: readonly ApplicationHealth[]): string {
  const failed = applications.filter(({ state }) => state === "reported").map(({ name }) => name);
  const more = failed.length - MAX_NAMED;
  const named = failed.slice(0, MAX_NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
  const counts = (["error", "healthy", "discovery"] as const).map((state) => {
    const count = applications.filter((application) => application.state === state).length;
    return count === 0 ? "" : `${count} ${state}`;
  });
  return [failed.length === 0 ? "" : `${named} reported`, ...counts].filter((part) => part !== "").join("; ");
}

function facts(health: VmHealth): string[][] {
  const { since, misses, agent, guestAgent, expectedAgent, applications, recovery } = health;
  return [
    ["state", `${stateInWords(health)}, since ${agoInWords(since)}`],
    ...(misses === 0 ? [] : [["missed", `${misses} in a row`]]),
    ...(agent === undefined ? [] : [["agent", evidenceInWords(agent)]]),
    ...(guestAgent === undefined ? [] : [["guest agent", evidenceInWords(guestAgent)]]),
    ...(expectedAgent === undefined
      ? []
      : [["expected agent", `${expectedAgent.state}, since ${agoInWords(expectedAgent.since)}`]]),
    ...applications.map((application) => [`application ${application.name}`, applicationInWords(application)]),
    ...recovery.map((standing) => [`recovery ${standing.policy}`, recoveryInWords(standing)]),
  ];
}

/** `missed 2 seconds ago: REASON; answered 40 seconds ago` */
function evidenceInWords({ result, at, reason, answeredAt }: ChannelEvidence): string {
  const why = reason === undefined ? "" : `: ${reason}`;
  const before = result === "answered" || answeredAt === undefined ? "" : `; answered ${agoInWords(answeredAt)}`;
  return `${result} ${agoInWords(at)}${why}${before}`;
}

function applicationInWords({ kind, state, since, reason }: ApplicationHealth): string {
  return `${kind}, ${state} since ${agoInWords(since)}${reason === undefined ? "" : `: ${reason}`}`;
}

function recoveryInWords({ runs, lastRunAt, isSuspended }: RecoveryStanding): string {
  const last = lastRunAt === undefined ? "" : `, the last ${agoInWords(lastRunAt)}`;
  const suspended = isSuspended ? "; suspended until the guest has been healthy for a while" : "";
  return `${runs} ${runs === 1 ? "run" : "runs"}${last}${suspended}`;
}
