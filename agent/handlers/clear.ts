import type { Handler } from "./context.ts";

/** Deletes all that the asker may delete. */
export const clear: Handler<"clear"> = (params, { access, store }) => {
  return store.change((cache) => cache.clear(params, access.caller));
};
