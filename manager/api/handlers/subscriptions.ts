import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

type SubscriptionEndpoint =
  | "listSubscriptions"
  | "createSubscription"
  | "showSubscription"
  | "changeSubscription"
  | "removeSubscription"
  | "listNotify"
  | "addNotify"
  | "removeNotify";

export function subscriptionHandlers({
  subscriptions,
}: Pick<Service, "subscriptions">): Handlers<SubscriptionEndpoint> {
  return {
    listSubscriptions: ({ who }) => ({ subscriptions: subscriptions.list(who) }),
    createSubscription: ({ who, body }) => subscriptions.create(who, body),
    showSubscription: ({ who, params }) => subscriptions.show(who, params.id),
    changeSubscription: ({ who, params, body }) => subscriptions.change(who, params.id, body),
    removeSubscription: async ({ who, params }) => {
      await subscriptions.remove(who, params.id);
      return {};
    },
    listNotify: ({ who, params }) => ({ notify: subscriptions.listNotify(who, params.vm) }),
    addNotify: ({ who, params, body }) => subscriptions.addNotify(who, params.vm, body),
    removeNotify: async ({ who, params }) => {
      await subscriptions.removeNotify(who, params.vm, params.id);
      return {};
    },
  };
}
