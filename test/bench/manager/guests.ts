/** The process of the simulated guests: `guests.ts DIRECTORY NAME_PREFIX COUNT`, forked by guest-fleet.ts, which commands it. */
import { join } from "node:path";
import type { FleetCommand, FleetMessage } from "./guest-fleet.ts";
import { type GuestCounters, SimulatedGuest } from "./simulated-guest.ts";

const [, , directory = "", prefix = "", count = ""] = process.argv;
const guests = Array.from({ length: Number(count) }, (_, index) => new SimulatedGuest(`${prefix}${index}`));
let isChanging = false;

function tell(message: FleetMessage): void {
  process.send?.(message);
}

function guest(name: string): SimulatedGuest {
  const found = guests.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`there is no guest '${name}'`);
  return found;
}

function obey(command: FleetCommand): void {
  switch (command.type) {
    case "change":
      isChanging = true;
      for (const each of guests) void keepChanging(each);
      return;
    case "rest":
      isChanging = false;
      return;
    case "flood":
      void guest(command.guest).flood();
      return;
    case "stop-flood":
      guest(command.guest).stopFlood();
      return;
    case "stop-reading":
      guest(command.guest).stopReading();
      return;
    case "hang":
      guest(command.guest).hang();
      return;
    case "forget-pings":
      for (const each of guests) each.forgetPings();
      return;
    case "count":
      return;
  }
}

async function keepChanging(changing: SimulatedGuest): Promise<void> {
  while (isChanging) {
    await changing.change();
    await new Promise(setImmediate);
  }
}

function counters(): Record<string, GuestCounters> {
  return Object.fromEntries(guests.map((each) => [each.name, each.counters]));
}

process.on("message", (command: FleetCommand) => {
  obey(command);
  tell({ type: "obeyed", counters: counters() });
});
// Whoever forked it is gone.
process.on("disconnect", () => process.exit());

for (const each of guests) await each.listen(join(directory, each.name));
tell({ type: "listening" });
