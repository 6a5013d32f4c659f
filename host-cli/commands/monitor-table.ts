import { tableLines } from "../../shared/cli/table.ts";
import {
  monitorEvents,
  type MonitorInput,
  monitorInputs,
  type MonitorNews,
  type MonitorState,
  monitorStates,
  type MonitorStep,
  monitorTable,
  type SubjectKind,
  subjectKinds,
} from "../../shared/monitor-table.ts";
import type { Context } from "../context.ts";
import type { MonitorTableCommand } from "../monitor-command.ts";
import { printListing } from "../rows.ts";

interface Transition {
  state: MonitorState;
  input: MonitorInput;
  to: MonitorState;
  /** The events that tell of it. */
  events: Partial<Record<SubjectKind, string>>;
}

/** `monitor --table`: the states of what is watched, what leads from one to another, and what is told with it. */
export function printMonitorTable({ style }: MonitorTableCommand, { output }: Context): void {
  const transitions = allTransitions();
  printListing(output, style, {
    items: transitions,
    header: ["STATE", "INPUT", "NEXT", ...subjectKinds.map((kind) => kind.toUpperCase())],
    row: ({ state, input, to, events }) => [state, input, to, ...subjectKinds.map((kind) => events[kind] ?? "")],
    name: ({ state, input, to }) => `${state} ${input} ${to}`,
    json: { states: monitorStates, inputs: monitorInputs, transitions },
    none: "",
  });
  if (style !== "transcript") return;
  output.line("");
  for (const line of tableLines(["INPUT", "MEANING"], Object.entries(monitorInputs))) output.line(line);
}

function allTransitions(): Transition[] {
  return monitorStates.flatMap((state) => {
    const steps = Object.entries(monitorTable[state]) as [MonitorInput, MonitorStep][];
    return steps.map(([input, { to, tells }]) => ({ state, input, to, events: eventsOf(tells) }));
  });
}

function eventsOf(news: MonitorNews | undefined): Transition["events"] {
  if (news === undefined) return {};
  const told = subjectKinds.map((kind) => [kind, (monitorEvents[kind] as Partial<Record<MonitorNews, string>>)[news]]);
  return Object.fromEntries(told.filter(([, event]) => event !== undefined)) as Transition["events"];
}
