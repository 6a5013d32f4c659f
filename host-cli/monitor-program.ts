/** The commands about guests' health as commander knows them. What they mean is monitor-arguments.ts. */
import type { Command as Program } from "commander";
import { adderTo } from "./adding-commands.ts";
import { diskThresholds, loadThresholds, percentThresholds } from "./check/thresholds.ts";
import type { Words } from "./words.ts";

/** Thresholds are `CRITICAL` or `WARNING,CRITICAL`, and alarms are raised at or over them. */
export function addCheckCommand(program: Program, words: Words): void {
  adderTo(program, words)("check", "", "whether a guest is well, as a plugin of Nagios or Icinga tells it")
    .option("--cpu <[warning,]critical>", "percent that its processors are busy, over a second", percentThresholds)
    .option("--memory <[warning,]critical>", "percent of its memory that is used", percentThresholds)
    .option(
      "--disk <[path=][warning,]critical>",
      "percent used of every disk, or of the one at a path; may be repeated",
      diskThresholds,
    )
    .option("--load <[warning,]critical>", "its load average over 5 minutes, not divided by processors", loadThresholds)
    .option("--applications", "whether an application that its agent watches is failing");
}

export function addMonitorCommand(program: Program, words: Words): void {
  adderTo(program, words)("monitor", "", "how the guests are, or all that is known of one (-v VM)").option(
    "--table",
    "the monitor's states and what leads from one to another instead",
  );
}
