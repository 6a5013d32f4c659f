import { toWireEntry } from "../../shared/protocol/cache.ts";
import type { Handler } from "./context.ts";

/** The value of one key; the only way to a secret's. */
export const get: Handler<"get"> = ({ key }, { access, store, machine, announceRead }) => {
  access.assertMaySee(key);
  const entry = store.cache.get(key);
  if (access.role === "local" && store.markRead(key)) announceRead(key, entry.messageId);
  return { epoch: store.cache.cursor.epoch, entry: toWireEntry(entry, machine.now()) };
};
