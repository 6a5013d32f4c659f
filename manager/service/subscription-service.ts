/** Subscriptions and notifications, for their owners. */
import type {
  NewNotify,
  NewSubscription,
  Notify,
  SinkSummary,
  Subscription,
  SubscriptionChange,
} from "../../shared/api/event-schemas.ts";
import type { VmRef } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { assertMayDo, mayManage } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import type { Dispatcher } from "../events/outbox/dispatcher.ts";
import {
  endpointSink,
  type NotifyRecord,
  type SubscriptionRecord,
  type Subscriptions,
} from "../events/subscriptions.ts";
import { parseCoordinates } from "../sinks/notify-coordinates.ts";
import type { Vms } from "../vms/vms.ts";
import type { Audited } from "./audited.ts";
import type { SubscriptionService } from "./event-service.ts";
import { sinkSummary } from "./sink-service.ts";

export interface SubscriptionServiceParts {
  subscriptions: Subscriptions;
  dispatcher: Dispatcher;
  vms: Vms;
  audited: Audited;
}

export class ManagedSubscriptions implements SubscriptionService {
  readonly #parts: SubscriptionServiceParts;

  constructor(parts: SubscriptionServiceParts) {
    this.#parts = parts;
  }

  list(who: Principal): Subscription[] {
    return this.#parts.subscriptions.all
      .filter(({ owner }) => mayManage(who, owner))
      .map((record) => this.#shown(record));
  }

  show(who: Principal, id: string): Subscription {
    return this.#shown(this.#resolve(who, id));
  }

  create(who: Principal, request: NewSubscription): Promise<Subscription> {
    return this.#changed(who, "subscription.create", () => this.#parts.subscriptions.create(request, who));
  }

  change(who: Principal, id: string, change: SubscriptionChange): Promise<Subscription> {
    return this.#changed(who, `subscription.change ${id}`, () => {
      this.#resolve(who, id);
      return this.#parts.subscriptions.change(id, change);
    });
  }

  remove(who: Principal, id: string): Promise<void> {
    return this.#parts.audited(who, { action: `subscription.remove ${id}` }, () => {
      this.#resolve(who, id);
      return this.#parts.subscriptions.remove(id);
    });
  }

  listNotify(who: Principal, name: string): Notify[] {
    assertMayDo(who, "write");
    return this.#notifiesOf(who, this.#parts.vms.resolve(who, name).ref).map((record) => this.#shownNotify(record));
  }

  addNotify(who: Principal, name: string, request: NewNotify): Promise<Notify> {
    const { ref } = this.#parts.vms.resolve(who, name);
    const add = async (): Promise<Notify> => {
      assertMayDo(who, "write");
      return this.#shownNotify(await this.#parts.subscriptions.addNotify(ref, request, who));
    };
    return this.#parts.audited(who, { action: "notify.add", vm: ref }, add);
  }

  removeNotify(who: Principal, name: string, id: string): Promise<void> {
    const { ref } = this.#parts.vms.resolve(who, name);
    const remove = async (): Promise<void> => {
      assertMayDo(who, "write");
      const record = this.#notifiesOf(who, ref).find((known) => known.id === id);
      if (record === undefined)
        throw new CommandError("failed", `'${ref.name}' has no notification '${id}'`, { unknown: true });
      if (record.owner === undefined) {
        throw new CommandError("conflict", `the inventory ${record.by} says so; remove it there`);
      }
      await this.#parts.subscriptions.removeNotify(id);
    };
    return this.#parts.audited(who, { action: `notify.remove ${id}`, vm: ref }, remove);
  }

  #notifiesOf(who: Principal, vm: VmRef): NotifyRecord[] {
    return this.#parts.subscriptions.notifiesOf(vm.id).filter(({ owner }) => mayManage(who, owner));
  }

  #changed(who: Principal, action: string, change: () => Promise<SubscriptionRecord>): Promise<Subscription> {
    return this.#parts.audited(who, { action }, async () => {
      assertMayDo(who, "write");
      return this.#shown(await change());
    });
  }

  /** Also for one who may only read (any more): they may see what is theirs, and remove it. */
  #resolve(who: Principal, id: string): SubscriptionRecord {
    const record = this.#parts.subscriptions.subscription(id);
    if (record !== undefined && mayManage(who, record.owner)) return record;
    throw new CommandError("failed", `there is no subscription '${id}'; 'vmmessage subscription list' lists them`, {
      unknown: true,
    });
  }

  #shown(record: SubscriptionRecord): Subscription {
    const { id, name, filter, values, format, contact, owner, createdAt, secrets } = record;
    return {
      id,
      name,
      filter,
      values,
      format,
      ...(contact !== undefined && { contact }),
      owner: owner.name,
      createdAt: rfc3339(createdAt),
      endpoints: record.endpoints.flatMap(({ number }) => this.#sink(endpointSink(id, number)) ?? []),
      secrets: secrets.length,
    };
  }

  #shownNotify({ id, vm, vmId, coordinates, by }: NotifyRecord): Notify {
    const { broker, queue } = parseCoordinates(coordinates);
    const { host, port, vhost, user } = broker;
    const sink = this.#sink(`notify:${id}`) ?? notStarted(`notify:${id}`);
    return { id, vm, vmId, host, port, vhost, user, queue, by, sink };
  }

  #sink(id: string): SinkSummary | undefined {
    const feed = this.#parts.dispatcher.feed(id);
    return feed && sinkSummary(feed);
  }
}

/** One that may not lead any more where it leads; the log says why. */
function notStarted(id: string): SinkSummary {
  const none = { backlog: 0, retrying: 0, deadLetters: 0, failures: 0 };
  return { id, type: "notify", target: "", state: "disabled", reason: "not started; see the manager's log", ...none };
}
