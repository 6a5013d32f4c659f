/** What a command line about guests' health asks for, as data. */
import type { CheckRequest } from "./check/thresholds.ts";
import type { CommonOptions } from "./command.ts";

/** All guests, or one. */
export interface MonitorCommand extends CommonOptions {
  name: "monitor";
  vm: string | undefined;
}

/** The table of the monitor's states, which no manager is asked for. */
export interface MonitorTableCommand extends CommonOptions {
  name: "monitor table";
}

/** What it prints and its exit codes are those of monitoring plugins. */
export interface CheckCommand extends CommonOptions {
  name: "check";
  request: CheckRequest;
}
