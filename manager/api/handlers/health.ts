import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

export function healthHandlers(service: Service): Handlers<"health"> {
  return { health: () => service.health() };
}
