/** What Prometheus scrapes of single guests: as of the scrape alone, so that a guest that is gone leaves nothing behind. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { VmRef } from "../shared/api/schemas.ts";
import type { Result } from "../shared/protocol/message.ts";
import { labelsOf, labelValue, vmLabels, type VmLabels } from "./metric-labels.ts";

/** How a guest is, as its pings and its agent say. What nobody knows of it has no series. */
export interface GuestStanding {
  vm: VmRef;
  isUp: boolean | undefined;
  applications: readonly { name: string; isOk: boolean }[];
  /** What it answered last. */
  stats: Result<"stats"> | undefined;
}

type VmLabel = (typeof vmLabels)[number];

/** Names and units as Prometheus' node_exporter has them, where it has the same. */
export class GuestMetrics {
  readonly #registry: Registry;
  readonly #up: Gauge<VmLabel>;
  readonly #applicationUp: Gauge<VmLabel | "application">;
  readonly #loads: readonly Gauge<VmLabel>[];
  readonly #uptime: Gauge<VmLabel>;
  readonly #cpus: Gauge<VmLabel>;
  readonly #cpuTime: Counter<VmLabel | "mode">;
  readonly #memoryTotal: Gauge<VmLabel>;
  readonly #memoryAvailable: Gauge<VmLabel>;
  readonly #diskTotal: Gauge<VmLabel | "path">;
  readonly #diskAvailable: Gauge<VmLabel | "path">;

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#up = this.#gauge("up", "Whether a guest answers");
    this.#applicationUp = this.#gauge("application_up", "Whether an application in a guest is well", "application");
    this.#loads = [1, 5, 15].map((minutes) => this.#gauge(`load${minutes}`, `A guest's load over ${minutes} min`));
    this.#uptime = this.#gauge("uptime_seconds", "For how long a guest has been running");
    this.#cpus = this.#gauge("cpus", "A guest's processors");
    this.#cpuTime = new Counter({
      name: "vmmessage_guest_cpu_seconds_total",
      help: "For how long all processors of a guest together worked and waited since it started",
      labelNames: [...vmLabels, "mode"],
      registers: [registry],
    });
    this.#memoryTotal = this.#gauge("memory_total_bytes", "A guest's memory");
    this.#memoryAvailable = this.#gauge("memory_available_bytes", "Memory that programs in a guest can still have");
    this.#diskTotal = this.#gauge("disk_total_bytes", "Size of a guest's file system", "path");
    this.#diskAvailable = this.#gauge("disk_available_bytes", "Free space of a guest's file system", "path");
  }

  set(guests: readonly GuestStanding[]): void {
    for (const metric of this.#all) metric.reset();
    for (const { vm, isUp, applications, stats } of guests) {
      const labels = labelsOf(vm);
      if (isUp !== undefined) this.#up.set(labels, Number(isUp));
      for (const { name, isOk } of applications) {
        this.#applicationUp.set({ ...labels, application: labelValue(name) }, Number(isOk));
      }
      if (stats !== undefined) this.#setStats(labels, stats);
    }
  }

  #setStats(labels: VmLabels, stats: Result<"stats">): void {
    for (const [index, load] of stats.loadAverage.entries()) this.#loads[index]?.set(labels, load);
    this.#uptime.set(labels, stats.uptimeMs / 1_000);
    this.#cpus.set(labels, stats.cpus);
    this.#cpuTime.inc({ ...labels, mode: "busy" }, stats.cpuBusyMs / 1_000);
    this.#cpuTime.inc({ ...labels, mode: "idle" }, stats.cpuIdleMs / 1_000);
    this.#memoryTotal.set(labels, stats.memoryTotalBytes);
    this.#memoryAvailable.set(labels, stats.memoryAvailableBytes);
    for (const { path, totalBytes, availableBytes } of stats.disks) {
      const ofDisk = { ...labels, path: labelValue(path) };
      this.#diskTotal.set(ofDisk, totalBytes);
      this.#diskAvailable.set(ofDisk, availableBytes);
    }
  }

  get #all(): readonly { reset(): void }[] {
    const one = [this.#up, this.#uptime, this.#cpus, this.#cpuTime, this.#memoryTotal, this.#memoryAvailable];
    return [...one, ...this.#loads, this.#applicationUp, this.#diskTotal, this.#diskAvailable];
  }

  #gauge<Label extends string = never>(name: string, help: string, label?: Label): Gauge<VmLabel | Label> {
    const labelNames: (VmLabel | Label)[] = label === undefined ? [...vmLabels] : [...vmLabels, label];
    return new Gauge({ name: `vmmessage_guest_${name}`, help, labelNames, registers: [this.#registry] });
  }
}
