import type { Handler } from "./context.ts";

/** Shows that the agent works, not only that somebody holds the port. */
export const ping: Handler<"ping"> = (_params, { machine }) => ({ uptimeMs: machine.now().uptimeMs });
