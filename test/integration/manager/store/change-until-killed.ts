/**
 * Changes what the store of a directory keeps, in all ways that events follow from, many at once, until it is killed. Prints
 * the id of each message that was settled, and of each event that was told.
 */
import { openStore } from "../../../../manager/store/open-store.ts";
import { mirrorChange, lifecycleStep, message, testVm } from "./stores.ts";

const [directory = "", round = "", senders = ""] = process.argv.slice(2);

const log = { info: console.error, warn: console.error, error: console.error };
const store = await openStore({
  directory,
  limits: { pendingPerVm: 1_000_000 },
  log,
  onFailure: console.error,
  onAppended: (events) => {
    process.stdout.write(events.map(({ id }) => `event ${id}\n`).join(""));
  },
});

async function change(sender: number): Promise<never> {
  const vm = testVm(sender);
  const result = { epoch: "e", revision: 1, replaced: [] };
  for (let index = 0; ; index += 1) {
    const messageId = `${round}.${sender}.${index}`;
    await store.keepMessages([{ ...message(messageId), vm }]);
    await Promise.all([
      store.settle(messageId, { type: "delivered", result }, Date.now()),
      store.saveMirrors([mirrorChange(vm, messageId)]),
      store.appendEvents(...lifecycleStep(vm, messageId)),
    ]);
    process.stdout.write(`settled ${messageId}\n`);
  }
}

await Promise.all(Array.from({ length: Number(senders) }, (_, sender) => change(sender)));
