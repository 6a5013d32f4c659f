import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import type { OutputStyle } from "../../../host-cli/command.ts";
import { printMonitorTable } from "../../../host-cli/commands/monitor-table.ts";
import type { Context } from "../../../host-cli/context.ts";
import type { MonitorTableCommand } from "../../../host-cli/monitor-command.ts";
import { Output } from "../../../shared/cli/output.ts";
import { eventTypes } from "../../../shared/event-types.ts";
import { monitorInputs, monitorStates } from "../../../shared/monitor-table.ts";

function printed(style: OutputStyle): string {
  const stdout = new PassThrough();
  const output = new Output("vmmessage", { stdout, stderr: new PassThrough() });
  printMonitorTable({ style } as MonitorTableCommand, { output } as Context);
  return String(stdout.read());
}

const [transitions = "", inputs = ""] = printed("transcript").split("\n\n");

test("every state has a line for every input, with what comes next and what is told", () => {
  const [header, ...rows] = transitions.split("\n").map((line) => line.split(/ {2,}/));
  expect(header).toEqual(["STATE", "INPUT", "NEXT", "GUEST", "AGENT", "APPLICATION"]);
  const expected = monitorStates.flatMap((state) => Object.keys(monitorInputs).map((input) => [state, input]));
  expect(rows.map((row) => row.slice(0, 2))).toEqual(expected);
  for (const [, , next] of rows) expect(monitorStates).toContain(next);
  expect(transitions).toMatch(/^healthy +lost +reported +VM\.HUNG .* VM\.APPLICATION-FAILED$/m);
  expect(transitions).toMatch(/^reported +answered +healthy +VM\.RECOVERED +VM\.AGENT-RECOVERED +VM\.APPLICATION-/m);
  expect(transitions).toMatch(/^error +answered +healthy$/m);
});

test("every input is explained", () => {
  for (const [input, meaning] of Object.entries(monitorInputs)) {
    expect(inputs).toMatch(new RegExp(`^${input} +${meaning}$`, "m"));
  }
});

test("--json has the same as data, and only events that there are", () => {
  const answer = JSON.parse(printed("json")) as { transitions: { state: string; input: string; events: object }[] };
  expect(answer).toMatchObject({ states: monitorStates, inputs: monitorInputs });
  expect(answer.transitions).toHaveLength(monitorStates.length * Object.keys(monitorInputs).length);
  const told = answer.transitions.flatMap(({ events }) => Object.values(events) as string[]);
  expect(new Set(told)).toContain("VM.HUNG");
  for (const type of told) expect(Object.keys(eventTypes)).toContain(type);
});
