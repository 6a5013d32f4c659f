/** Carries a command out. Each command's file is loaded only when it is asked for. */
import type { Command } from "./command.ts";
import type { Context } from "./open-guest.ts";

/** Throws CommandError when the command fails, Interruption when a signal ended it. */
export async function runCommand(command: Command, context: Context): Promise<void> {
  for (const note of command.notes) context.output.note(note);
  switch (command.name) {
    case "set":
      return (await import("./commands/set.ts")).set(command, context);
    case "get":
      return (await import("./commands/get.ts")).get(command, context);
    case "delete":
      return (await import("./commands/delete.ts")).deleteKeys(command, context);
    case "clear":
      return (await import("./commands/clear.ts")).clear(command, context);
    case "list":
      return (await import("./commands/list.ts")).list(command, context);
    case "watch":
      return (await import("./commands/watch.ts")).watch(command, context);
    case "wait":
      return (await import("./commands/wait.ts")).wait(command, context);
    case "info":
      return (await import("./commands/info.ts")).info(command, context);
    case "ping":
      return (await import("./commands/ping.ts")).ping(command, context);
    case "doctor":
      return (await import("./commands/doctor.ts")).doctor(command, context);
  }
}
