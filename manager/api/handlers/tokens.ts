import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

export function tokenHandlers(service: Service): Handlers<"listTokens" | "createToken" | "revokeToken"> {
  return {
    listTokens: async ({ who }) => ({ tokens: await service.listTokens(who) }),
    createToken: ({ who, body }) => service.createToken(who, body),
    revokeToken: async ({ who, params }) => {
      await service.revokeToken(who, params.id);
      return {};
    },
  };
}
