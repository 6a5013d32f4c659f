import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

export function userHandlers(service: Service): Handlers<"listUsers" | "changeUser" | "removeUser"> {
  return {
    listUsers: async ({ who }) => ({ users: await service.listUsers(who) }),
    changeUser: ({ who, params, body }) => service.changeUser(who, params.user, body),
    removeUser: async ({ who, params }) => {
      await service.removeUser(who, params.user);
      return {};
    },
  };
}
