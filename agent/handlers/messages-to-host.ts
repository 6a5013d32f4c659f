import { RequestError } from "../../shared/protocol/errors.ts";
import type { Handler } from "./context.ts";

/** Messages that a program in the guest has for the host: answered once they will survive, delivered when a host takes them. */
export const event: Handler<"event"> = async (params, { queue }) => {
  await queue.add({ method: "event", params });
  return {};
};

export const report: Handler<"report"> = async ({ mayBeVolatile = false, ...params }, { queue }) => {
  const message = { method: "report", params } as const;
  if (!mayBeVolatile) await queue.add(message);
  else if ((await queue.addAnyhow(message)) === "volatile") return { volatile: true };
  return {};
};

/** The program names the key; the change that is acknowledged is the one that set it last. */
export const acknowledge: Handler<"acknowledge"> = async (params, { access, store, queue }) => {
  access.assertMaySee(params.key);
  const entry = store.cache.find(params.key);
  if (entry === undefined) {
    throw new RequestError("no-such-key", `there is no key '${params.key}'`, { key: params.key });
  }
  if (entry.setBy !== "host") {
    throw new RequestError(
      "failed",
      `the key '${params.key}' was not set by the host; there is nothing to acknowledge`,
    );
  }
  await queue.add({ method: "acknowledge", params: { ...params, of: entry.messageId } });
  return {};
};
