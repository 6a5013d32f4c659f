import type { Handler } from "./context.ts";

/** Begins a watch; its first batch follows the answer. */
export const watch: Handler<"watch"> = (params, { watches }) => watches.add(params);

export const unwatch: Handler<"unwatch"> = (params, { watches }) => {
  watches.remove(params.watch);
  return {};
};
