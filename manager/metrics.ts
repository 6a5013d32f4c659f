/** What Prometheus scrapes: names and units follow its conventions (base units, `_total` for what only grows). */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { DeliveryAttempt } from "../shared/api/event-schemas.ts";
import type { EventCategory } from "../shared/event-types.ts";
import { type LinkState, linkStates, type MessageState, messageStates, type VmRef } from "../shared/api/schemas.ts";
import { GuestMetrics, type GuestStanding } from "./guest-metrics.ts";
import { labelsOf, labelValue, vmLabels, type VmLabels } from "./metric-labels.ts";

/** What a ping of the monitor's can find out. */
const pingOutcomes = ["answered", "missed", "unknown"] as const;
export type PingOutcome = (typeof pingOutcomes)[number];

/** From a round trip to a VM that was away for days. */
const DELIVERY_BUCKETS_S = [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 3600, 86_400];
const ROUND_TRIP_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15];

/** One VM's counters. To be asked for anew when the VM was forgotten or renamed. */
export interface VmMetrics {
  /** Bytes that came on its channel. */
  received(bytes: number): void;
  sent(bytes: number): void;
  /** For how long it was not read because it said too much. */
  throttled(durationMs: number): void;
  /** A frame that was damaged, or broke the protocol. */
  refusedFrame(): void;
  /** Changes of keys that its guest told of. */
  changes(count: number): void;
  /** A message that came from its guest. */
  message(): void;
}

/** What is looked up when it is asked for. A state that is left out has none. */
export interface SinkStanding {
  id: string;
  isConnected: boolean;
  backlog: number;
  retrying: number;
  deadLetters: number;
}

export interface Standings {
  links: Partial<Record<LinkState, number>>;
  messages: Partial<Record<MessageState, number>>;
  pending: readonly { vm: VmRef; count: number }[];
  inventory: readonly { name: string; isConnected: boolean }[];
  sinks: readonly SinkStanding[];
  guests: readonly GuestStanding[];
  /** Left out where no broker is configured for other managers. */
  peers?: { broker: string; isConnected: boolean; managers: number } | undefined;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #vms = new Map<string, VmLabels>();
  readonly #links = new Gauge({
    name: "vmmessage_links",
    help: "VMs by the state of their link",
    labelNames: ["state"],
    registers: [this.#registry],
  });
  readonly #messages = new Gauge({
    name: "vmmessage_messages",
    help: "Messages to VMs that are kept, by what became of them",
    labelNames: ["state"],
    registers: [this.#registry],
  });
  readonly #peersConnected = new Gauge({
    name: "vmmessage_peers_connected",
    help: "Whether the broker where managers on other hosts are met lets us in",
    labelNames: ["broker"],
    registers: [this.#registry],
  });
  readonly #peerManagers = new Gauge({
    name: "vmmessage_peer_managers",
    help: "Managers on other hosts that are known to be there",
    labelNames: ["broker"],
    registers: [this.#registry],
  });
  readonly #delivery = new Histogram({
    name: "vmmessage_message_delivery_seconds",
    help: "From the moment a message was queued until its guest had done it",
    buckets: DELIVERY_BUCKETS_S,
    registers: [this.#registry],
  });
  readonly #roundTrip = new Histogram({
    name: "vmmessage_request_seconds",
    help: "From a request to a guest until its answer",
    buckets: ROUND_TRIP_BUCKETS_S,
    registers: [this.#registry],
  });
  readonly #inventories = new Gauge({
    name: "vmmessage_inventory_connected",
    help: "Whether an inventory can be asked",
    labelNames: ["source"],
    registers: [this.#registry],
  });
  readonly #events = new Counter({
    name: "vmmessage_events_total",
    help: "Events that were written to the log, by category",
    labelNames: ["category"],
    registers: [this.#registry],
  });
  readonly #deliveries = new Counter({
    name: "vmmessage_sink_deliveries_total",
    help: "Attempts to deliver events to a sink, by what became of them",
    labelNames: ["sink", "outcome"],
    registers: [this.#registry],
  });
  readonly #pings = new Counter({
    name: "vmmessage_monitor_pings_total",
    help: "Pings of guests on all their channels, by what they found out",
    labelNames: ["outcome"],
    registers: [this.#registry],
  });
  readonly #recoveries = new Counter({
    name: "vmmessage_recoveries_total",
    help: "Commands that were run to recover guests, by how they ended",
    labelNames: ["policy", "outcome"],
    registers: [this.#registry],
  });
  readonly #guests = new GuestMetrics(this.#registry);
  readonly #sinkConnected = this.#sinkGauge("vmmessage_sink_connected", "Whether a sink can be delivered to");
  readonly #sinkBacklog = this.#sinkGauge("vmmessage_sink_backlog", "Events that a sink has not come to yet");
  readonly #sinkRetrying = this.#sinkGauge("vmmessage_sink_retrying", "Events that wait for another attempt at a sink");
  readonly #sinkDeadLetters = this.#sinkGauge(
    "vmmessage_sink_dead_letters",
    "Events that could not be delivered to a sink, and are kept",
  );
  readonly #received = this.#vmCounter("vmmessage_link_received_bytes_total", "Bytes received on a VM's channel");
  readonly #sent = this.#vmCounter("vmmessage_link_sent_bytes_total", "Bytes sent on a VM's channel");
  readonly #refusedFrames = this.#vmCounter(
    "vmmessage_refused_frames_total",
    "Frames from a VM that were damaged or broke the protocol",
  );
  readonly #guestChanges = this.#vmCounter("vmmessage_guest_changes_total", "Changes of keys that a VM told of");
  readonly #guestMessages = this.#vmCounter("vmmessage_guest_messages_total", "Messages that came from a VM");
  readonly #throttled = this.#vmCounter(
    "vmmessage_throttled_seconds_total",
    "For how long a VM was not read because it said too much",
  );
  readonly #pending = new Gauge({
    name: "vmmessage_pending_messages",
    help: "Messages that wait for a VM",
    labelNames: vmLabels,
    registers: [this.#registry],
  });

  readonly #vmCounters = [
    this.#received,
    this.#sent,
    this.#throttled,
    this.#refusedFrames,
    this.#guestChanges,
    this.#guestMessages,
  ];

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    for (const outcome of pingOutcomes) this.#pings.inc({ outcome }, 0);
  }

  /** Prometheus' text format. */
  scrape({ links, messages, pending, inventory, sinks, guests, peers }: Standings): Promise<string> {
    for (const state of linkStates) this.#links.set({ state }, links[state] ?? 0);
    for (const state of messageStates) this.#messages.set({ state }, messages[state] ?? 0);
    this.#pending.reset();
    for (const { vm, count } of pending) this.#pending.set(labelsOf(vm), count);
    this.#inventories.reset();
    for (const { name, isConnected } of inventory) {
      this.#inventories.set({ source: labelValue(name) }, isConnected ? 1 : 0);
    }
    this.#setSinks(sinks);
    this.#guests.set(guests);
    this.#setPeers(peers);
    return this.#registry.metrics();
  }

  #setPeers(peers: Standings["peers"]): void {
    this.#peersConnected.reset();
    this.#peerManagers.reset();
    if (peers === undefined) return;
    const broker = labelValue(peers.broker);
    this.#peersConnected.set({ broker }, peers.isConnected ? 1 : 0);
    this.#peerManagers.set({ broker }, peers.managers);
  }

  /** These were written to the log. */
  events(events: readonly { category: EventCategory }[]): void {
    for (const { category } of events) this.#events.inc({ category });
  }

  /** An attempt to deliver an event ended so. */
  attempted(sink: string, outcome: DeliveryAttempt["outcome"]): void {
    this.#deliveries.inc({ sink: labelValue(sink), outcome });
  }

  /** A guest was pinged on one of its channels. */
  pinged(outcome: PingOutcome): void {
    this.#pings.inc({ outcome });
  }

  /** A command that was to recover a guest has ended. */
  recovered(policy: string, outcome: string): void {
    this.#recoveries.inc({ policy: labelValue(policy), outcome: labelValue(outcome) });
  }

  /** A guest has done what was queued so many seconds ago. */
  delivered(seconds: number): void {
    this.#delivery.observe(seconds);
  }

  /** A guest answered a request. */
  roundTrip(seconds: number): void {
    this.#roundTrip.observe(seconds);
  }

  /** The counters of a VM, which go on; under a new name they begin at zero. */
  forVm(vm: VmRef): VmMetrics {
    const labels = labelsOf(vm);
    if (this.#vms.get(vm.id)?.vm !== labels.vm) this.forgetVm(vm);
    this.#vms.set(vm.id, labels);
    return {
      received: (bytes) => {
        this.#received.inc(labels, bytes);
      },
      sent: (bytes) => {
        this.#sent.inc(labels, bytes);
      },
      throttled: (durationMs) => {
        this.#throttled.inc(labels, durationMs / 1000);
      },
      refusedFrame: () => {
        this.#refusedFrames.inc(labels);
      },
      changes: (count) => {
        this.#guestChanges.inc(labels, count);
      },
      message: () => {
        this.#guestMessages.inc(labels);
      },
    };
  }

  /** A VM is gone: so are its series. */
  forgetVm({ id }: Pick<VmRef, "id">): void {
    const labels = this.#vms.get(id);
    if (labels === undefined) return;
    this.#vms.delete(id);
    for (const counter of this.#vmCounters) counter.remove(labels);
  }

  #setSinks(sinks: readonly SinkStanding[]): void {
    const gauges = [this.#sinkConnected, this.#sinkBacklog, this.#sinkRetrying, this.#sinkDeadLetters];
    for (const gauge of gauges) gauge.reset();
    for (const { id, isConnected, backlog, retrying, deadLetters } of sinks) {
      const labels = { sink: labelValue(id) };
      this.#sinkConnected.set(labels, isConnected ? 1 : 0);
      this.#sinkBacklog.set(labels, backlog);
      this.#sinkRetrying.set(labels, retrying);
      this.#sinkDeadLetters.set(labels, deadLetters);
    }
  }

  #sinkGauge(name: string, help: string): Gauge<"sink"> {
    return new Gauge({ name, help, labelNames: ["sink"], registers: [this.#registry] });
  }

  #vmCounter(name: string, help: string): Counter<(typeof vmLabels)[number]> {
    return new Counter({ name, help, labelNames: vmLabels, registers: [this.#registry] });
  }
}
