/** Every endpoint's handler: each asks one thing of the service. */
import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";
import { auditHandlers } from "./audit.ts";
import { fleetHandlers } from "./fleet.ts";
import { healthHandlers } from "./health.ts";
import { keyHandlers } from "./keys.ts";
import { messageHandlers } from "./messages.ts";
import { tokenHandlers } from "./tokens.ts";
import { userHandlers } from "./users.ts";
import { vmHandlers } from "./vms.ts";

export function handlersOf(service: Service): Handlers {
  return {
    ...vmHandlers(service),
    ...keyHandlers(service),
    ...messageHandlers(service),
    ...fleetHandlers(service),
    ...userHandlers(service),
    ...tokenHandlers(service),
    ...auditHandlers(service),
    ...healthHandlers(service),
  };
}
