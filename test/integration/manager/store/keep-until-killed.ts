/**
 * Keeps messages in the store of a directory, many at once, and prints the id of each that was answered; until it is
 * killed. Those that failed are printed with a `!`, and it goes on.
 */
import { setTimeout as pause } from "node:timers/promises";
import { openStore } from "../../../../manager/store/open-store.ts";

const [directory = "", round = "", senders = ""] = process.argv.slice(2);

const tell = (event: string) => {
  console.error(event);
};
const store = await openStore({
  directory,
  limits: { pendingPerVm: 1_000_000, pendingBytesPerVm: 1e12, pendingTotal: 1_000_000 },
  log: { info: tell, warn: tell, error: tell },
  onFailure: (error) => {
    tell(error.message);
  },
});

async function send(sender: number): Promise<never> {
  for (let index = 0; ; index += 1) {
    const messageId = `${round}.${sender}.${index}`;
    const change = { method: "set" as const, params: { messageId, entries: [{ key: "k", value: "v".repeat(1000) }] } };
    const message = {
      vm: { id: "11111111-1111-4111-8111-111111111111", name: "web1" },
      change,
      by: "test",
      queuedAt: Date.now(),
      expiresAt: undefined,
    };
    try {
      await store.keepMessages([message]);
      process.stdout.write(`${messageId}\n`);
    } catch {
      process.stdout.write(`!${messageId}\n`);
      await pause(10);
    }
  }
}

await Promise.all(Array.from({ length: Number(senders) }, (_, sender) => send(sender)));
