/** Carries a command out. Each command's file is loaded only when it is asked for. */
import { CommandError } from "../shared/cli/failure.ts";
import type { Command } from "./command.ts";
import type { Context } from "./context.ts";
import type { CheckCommand } from "./monitor-command.ts";

/** Throws CommandError when the command fails, Interruption when a signal ended it. A check has exit codes of its own. */
export async function runCommand(command: Exclude<Command, CheckCommand>, context: Context): Promise<void> {
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
    case "bootstrap":
      return (await besides(() => import("./commands/bootstrap.ts"))).bootstrap(command, context);
    case "attach":
      return (await import("./commands/attach.ts")).attach(command, context);
    case "channel xml":
      (await import("./commands/attach.ts")).printChannelXml(command, context);
      return;
    case "fleet":
      return (await import("./commands/fleet.ts")).fleet(command, context);
    case "vms":
      return (await import("./commands/vms.ts")).vms(command, context);
    case "messages":
      return (await import("./commands/messages.ts")).messages(command, context);
    case "forget":
      return (await import("./commands/forget.ts")).forget(command, context);
    case "receipt":
      return (await import("./commands/receipt.ts")).receipt(command, context);
    case "user":
      return (await import("./commands/user.ts")).user(command, context);
    case "token":
      return (await import("./commands/token.ts")).token(command, context);
    case "audit":
      return (await import("./commands/audit.ts")).audit(command, context);
    case "health":
      return (await import("./commands/health.ts")).health(command, context);
    case "monitor":
      return (await import("./commands/monitor.ts")).monitor(command, context);
    case "monitor table":
      (await import("./commands/monitor-table.ts")).printMonitorTable(command, context);
      return;
    case "events":
      return (await import("./commands/events.ts")).events(command, context);
    case "event types":
      (await import("./commands/event-types.ts")).printEventTypes(command, context);
      return;
    case "notify":
      return (await import("./commands/notify.ts")).notify(command, context);
    case "subscription":
      return (await import("./commands/subscription.ts")).subscription(command, context);
    case "sink":
      return (await import("./commands/sink.ts")).sink(command, context);
    case "save":
      return (await import("./commands/save.ts")).save(command, context);
  }
}

/** A file of this program's bundle, as its loader names one that it does not find: `Cannot find module './yaml.js'`. */
const MISSING_FILE = /^Cannot find module '\.\/([\w-]+\.js)'/;

/** Loads what takes a further file of the bundle. Throws CommandError (failed) when somebody has copied vmmessage.js alone. */
async function besides<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const [, file] = MISSING_FILE.exec(error instanceof Error ? error.message : "") ?? [];
    if (file === undefined) throw error;
    throw new CommandError("failed", `${file} is not there; it has to lie beside vmmessage.js`, {}, { cause: error });
  }
}
