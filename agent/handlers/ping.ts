import type { Handler } from "./context.ts";

/** Shows that the agent works, not only that somebody holds the port, and how the applications are. */
export const ping: Handler<"ping"> = (_params, { access, machine, applications }) => {
  const states = applications.states().filter(({ name }) => access.mayTouch(name));
  return { uptimeMs: machine.now().uptimeMs, ...(states.length > 0 && { applications: states }) };
};
