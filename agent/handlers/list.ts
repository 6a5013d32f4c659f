import type { Handler } from "./context.ts";

/** A page of the keys that the asker may see. */
export const list: Handler<"list"> = (params, { access, store, machine }) => {
  return store.cache.list(params, machine.now(), access.mayTouch);
};
