/** From the words of a command line about guests' health to a command. */
import { usageError } from "../shared/cli/failure.ts";
import { CPU_WINDOW_MS, type DiskThresholds } from "./check/thresholds.ts";
import type { CommonOptions } from "./command.ts";
import type { CheckCommand, MonitorCommand, MonitorTableCommand } from "./monitor-command.ts";
import type { OwnOptions } from "./words.ts";

/** Throws CommandError (usage). */
export function monitorCommand({ table }: OwnOptions, common: CommonOptions): MonitorCommand | MonitorTableCommand {
  const { vm } = common.target;
  if (!table) return { ...common, name: "monitor", vm };
  if (vm !== undefined) throw usageError("--table stands alone: it prints the monitor's states, and no guest's");
  return { ...common, name: "monitor table" };
}

/** Throws CommandError (usage). */
export function checkCommand(own: OwnOptions, common: CommonOptions): CheckCommand {
  const { cpu, memory, disk = [], load, applications = false } = own;
  if (cpu !== undefined && common.timeoutMs !== undefined && common.timeoutMs <= CPU_WINDOW_MS) {
    throw usageError(`--cpu is measured over ${CPU_WINDOW_MS / 1_000} s; --timeout has to be longer`);
  }
  return { ...common, name: "check", request: { cpu, memory, disks: disk as DiskThresholds[], load, applications } };
}
