import type { Handler } from "./context.ts";

/** All of the entries or none. */
export const set: Handler<"set"> = (params, { access, store, machine }) => {
  return store.change((cache) => cache.set(params, access.caller, machine.now()));
};
