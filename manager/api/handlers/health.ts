import type { Service } from "../../service.ts";
import type { Handlers } from "../handler.ts";

export function healthHandlers(service: Service): Handlers<"health"> {
  return { health: () => service.health() };
}
