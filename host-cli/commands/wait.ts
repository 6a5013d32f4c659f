import { CommandError } from "../../shared/cli/failure.ts";
import type { WaitCommand } from "../command.ts";
import type { Context } from "../context.ts";
import type { Changed, Guest } from "../guest.ts";
import { openGuest } from "../open-guest.ts";
import { noteOrigin } from "../origin.ts";
import { Transcript } from "../transcript.ts";
import { printEntry } from "./get.ts";

/** `wait KEY`: till the key is set; prints its value. When the time is up the answer is `unreachable`: trying again can help. */
export async function wait(command: WaitCommand, context: Context): Promise<void> {
  const { key, style } = command;
  const { output } = context;
  const sets = new Sets(key);
  await using guest = await openGuest(command, context, new Transcript(output, "quiet"), { lasts: "wait" });
  const watching = guest.watch({
    prefix: key,
    changed: sets.take,
    late: (why) => notSet(guest, key, why),
  });
  watching.catch(() => undefined);
  for (;;) {
    await Promise.race([watching, sets.next()]);
    const answer = await getIfThere(guest, key);
    if (answer === undefined) continue;
    printEntry(output, style, { vm: guest.name, ...answer });
    noteOrigin(output, style, guest.name, answer.origin);
    return;
  }
}

/** Notes that the key was set, once for any number of times. */
class Sets {
  readonly #key: string;
  #seen = Promise.withResolvers<undefined>();

  constructor(key: string) {
    this.#key = key;
  }

  readonly take = ({ changes }: Changed): void => {
    if (changes.some((change) => change.key === this.#key && !("deleted" in change))) this.#seen.resolve(undefined);
  };

  async next(): Promise<void> {
    await this.#seen.promise;
    this.#seen = Promise.withResolvers();
  }
}

/** Undefined when it was deleted again, or is a secret that was lost. */
async function getIfThere(guest: Guest, key: string) {
  try {
    return await guest.get(key);
  } catch (error) {
    if (error instanceof CommandError && error.code === "no-such-key") return undefined;
    throw error;
  }
}

function notSet(guest: Guest, key: string, why: string): CommandError {
  const vm = guest.name;
  return new CommandError("unreachable", `the key '${key}' was not set in '${vm}': ${why}`, { vm, key });
}
