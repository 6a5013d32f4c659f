/** Every endpoint's handler: each asks one thing of the service. */
import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";
import { auditHandlers } from "./audit.ts";
import { eventHandlers } from "./events.ts";
import { fleetHandlers } from "./fleet.ts";
import { healthHandlers } from "./health.ts";
import { imageHandlers } from "./images.ts";
import { keyHandlers } from "./keys.ts";
import { messageHandlers } from "./messages.ts";
import { monitorHandlers } from "./monitor.ts";
import { sinkHandlers } from "./sinks.ts";
import { subscriptionHandlers } from "./subscriptions.ts";
import { tokenHandlers } from "./tokens.ts";
import { userHandlers } from "./users.ts";
import { vmHandlers } from "./vms.ts";

export function handlersOf(service: Service): Handlers {
  return {
    ...vmHandlers(service),
    ...keyHandlers(service),
    ...messageHandlers(service),
    ...fleetHandlers(service),
    ...monitorHandlers(service),
    ...eventHandlers(service),
    ...sinkHandlers(service),
    ...subscriptionHandlers(service),
    ...imageHandlers(service),
    ...userHandlers(service),
    ...tokenHandlers(service),
    ...auditHandlers(service),
    ...healthHandlers(service),
  };
}
