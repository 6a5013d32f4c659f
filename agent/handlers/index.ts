/** The requests that an agent answers, by method. */
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Method } from "../../shared/protocol/message.ts";
import type { Request } from "../../shared/protocol/session.ts";
import { addCheck, beat, dismiss, listApplications } from "./applications.ts";
import { clear } from "./clear.ts";
import type { Handler, HandlerContext } from "./context.ts";
import { deleteKeys } from "./delete.ts";
import { get } from "./get.ts";
import { info } from "./info.ts";
import { list } from "./list.ts";
import { acknowledge, event, report } from "./messages-to-host.ts";
import { ping } from "./ping.ts";
import { set } from "./set.ts";
import { stats } from "./stats.ts";
import { unwatch, watch } from "./watch.ts";

const handlers: { [M in Exclude<Method, "hello">]: Handler<M> } = {
  get,
  list,
  set,
  delete: deleteKeys,
  clear,
  watch,
  unwatch,
  ping,
  info,
  stats,
  event,
  acknowledge,
  report,
  beat,
  addCheck,
  dismiss,
  applications: listApplications,
};

/** Answers one request. Throws RequestError when it is refused. */
export async function answer(request: Request, context: HandlerContext): Promise<unknown> {
  if (request.method === "hello") throw new RequestError("internal", "a hello is answered by the session");
  context.access.assertMayUse(request.method);
  const handler = handlers[request.method] as Handler<Method>;
  return handler(request.params, context);
}
