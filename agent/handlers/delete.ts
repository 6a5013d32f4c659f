import type { Handler } from "./context.ts";

/** Deletes those of the keys that exist, and says which did. */
export const deleteKeys: Handler<"delete"> = (params, { access, store }) => {
  return store.change((cache) => cache.delete(params, access.caller));
};
