import { pause } from "../../shared/abort.ts";
import { CommandError, type Interruption } from "../../shared/cli/failure.ts";
import type { Output } from "../../shared/cli/output.ts";
import { type Findings, judge, judgeHealth, judgeRoundTrip } from "../check/judge.ts";
import { pluginHead, pluginLine } from "../check/plugin-line.ts";
import { type CheckRequest, CPU_WINDOW_MS } from "../check/thresholds.ts";
import { checkExitCodes, type Verdict, worstOf } from "../check/verdict.ts";
import type { OutputStyle } from "../command.ts";
import type { Context } from "../context.ts";
import { type Guest, SilentGuestError } from "../guest.ts";
import type { CheckCommand } from "../monitor-command.ts";
import { openGuest } from "../open-guest.ts";
import { Transcript } from "../transcript.ts";

/** `check`: one line for Nagios. Answers the exit code; what it throws is for {@link printFailedCheck}. */
export async function check(command: CheckCommand, context: Context): Promise<number> {
  const { request, style } = command;
  const { output } = context;
  await using guest = await openGuest(command, context, new Transcript(output, "quiet"));
  const verdicts = await look(guest, request, context.interrupt);
  const state = worstOf(verdicts);
  const exitCode = checkExitCodes[state];
  if (style === "json") output.json({ vm: guest.name, state, exitCode, checks: verdicts.map(forPrograms) });
  else output.line(style === "quiet" ? state : pluginLine(guest.name, verdicts));
  return exitCode;
}

/** A guest that does not answer is what a check is there to find; whatever else fails is about the check. */
export function printFailedCheck(error: CommandError | Interruption, output: Output, style: OutputStyle): number {
  const state = error instanceof SilentGuestError ? "CRITICAL" : "UNKNOWN";
  const exitCode = checkExitCodes[state];
  if (style !== "json") {
    output.line(style === "quiet" ? state : pluginHead(state, error.message));
    return exitCode;
  }
  const { code, details } = error instanceof CommandError ? error : { code: "failed", details: {} };
  output.json({ state, exitCode, error: { ...details, code, message: error.message } });
  return exitCode;
}

function needsStats({ cpu, memory, disks, load }: CheckRequest): boolean {
  return disks.length > 0 || [cpu, memory, load].some((thresholds) => thresholds !== undefined);
}

/** Without anything else to look at: whether it answers now, and what a manager has seen of it. */
async function reach(guest: Guest): Promise<Verdict[]> {
  const { roundTripMs } = await guest.ping();
  const health = await guest.health();
  return [judgeRoundTrip(roundTripMs), ...(health === undefined ? [] : judgeHealth(health))];
}

async function look(guest: Guest, request: CheckRequest, interrupt: AbortSignal): Promise<Verdict[]> {
  if (!needsStats(request) && !request.applications) return reach(guest);
  const stats = needsStats(request) ? await readStats(guest, request, interrupt) : undefined;
  const applications = request.applications ? (await guest.ping()).applications : undefined;
  return judge(request, { stats, applications });
}

async function readStats(guest: Guest, { cpu }: CheckRequest, interrupt: AbortSignal): Promise<Findings["stats"]> {
  const first = await guest.stats();
  if (cpu === undefined) return { first, last: first };
  await pause(CPU_WINDOW_MS, interrupt);
  return { first, last: await guest.stats() };
}

function forPrograms({ name, state, text, measured }: Verdict): object {
  if (measured === undefined) return { name, state, text };
  const { value, unit, warning, critical } = measured;
  return { name, state, text, value, unit, warning, critical };
}
