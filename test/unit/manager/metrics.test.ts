import { expect, test } from "vitest";
import { Metrics, type Standings } from "../../../manager/metrics.ts";

const nothing: Standings = { links: {}, messages: {}, pending: [], inventory: [], sinks: [], guests: [] };
const web = { id: "6d2a7d6e-5f0b-4b5e-9d4e-0a6f0f7f0001", name: "web" };
const labels = `vm="web",vm_id="${web.id}"`;

async function linesOf(metrics: Metrics, standings: Partial<Standings> = {}): Promise<string[]> {
  const text = await metrics.scrape({ ...nothing, ...standings });
  return text.split("\n").filter((line) => line.startsWith("vmmessage_"));
}

test("states without anything are zero, so that a rule can compare them", async () => {
  const lines = await linesOf(new Metrics(), { links: { up: 2 }, messages: { queued: 3 } });
  expect(lines).toContain('vmmessage_links{state="up"} 2');
  expect(lines).toContain('vmmessage_links{state="held"} 0');
  expect(lines).toContain('vmmessage_messages{state="queued"} 3');
  expect(lines).toContain('vmmessage_messages{state="refused"} 0');
});

test("a VM's counters count", async () => {
  const metrics = new Metrics();
  const vm = metrics.forVm(web);
  vm.received(100);
  vm.received(20);
  vm.sent(7);
  vm.throttled(1500);
  vm.refusedFrame();
  vm.changes(3);
  vm.message();
  expect(await linesOf(metrics)).toEqual(
    expect.arrayContaining([
      `vmmessage_link_received_bytes_total{${labels}} 120`,
      `vmmessage_link_sent_bytes_total{${labels}} 7`,
      `vmmessage_throttled_seconds_total{${labels}} 1.5`,
      `vmmessage_refused_frames_total{${labels}} 1`,
      `vmmessage_guest_changes_total{${labels}} 3`,
      `vmmessage_guest_messages_total{${labels}} 1`,
    ]),
  );
});

test("asking for a VM's counters again goes on counting", async () => {
  const metrics = new Metrics();
  metrics.forVm(web).sent(1);
  metrics.forVm(web).sent(2);
  expect(await linesOf(metrics)).toContain(`vmmessage_link_sent_bytes_total{${labels}} 3`);
});

test("a VM that is gone, or has another name, leaves no series behind", async () => {
  const metrics = new Metrics();
  metrics.forVm(web).sent(1);
  metrics.forVm({ ...web, name: "renamed" }).sent(2);
  const ofVms = (lines: string[]) => lines.filter((line) => line.includes("vm_id"));
  expect(ofVms(await linesOf(metrics))).toEqual([`vmmessage_link_sent_bytes_total{vm="renamed",vm_id="${web.id}"} 2`]);
  metrics.forgetVm(web);
  metrics.forgetVm(web);
  expect(ofVms(await linesOf(metrics))).toEqual([]);
});

test("what waits and which inventories there are is as of the scrape alone", async () => {
  const metrics = new Metrics();
  const pending = [{ vm: web, count: 4 }];
  const inventory = [{ name: "libvirt qemu:///system", isConnected: false }];
  const lines = await linesOf(metrics, { pending, inventory });
  expect(lines).toContain(`vmmessage_pending_messages{${labels}} 4`);
  expect(lines).toContain('vmmessage_inventory_connected{source="libvirt qemu:///system"} 0');
  const later = await linesOf(metrics);
  expect(later.filter((line) => /pending|inventory/.test(line))).toEqual([]);
});

test("durations fall into buckets of seconds", async () => {
  const metrics = new Metrics();
  metrics.delivered(0.2);
  metrics.roundTrip(0.003);
  const lines = await linesOf(metrics);
  expect(lines).toContain('vmmessage_message_delivery_seconds_bucket{le="0.1"} 0');
  expect(lines).toContain('vmmessage_message_delivery_seconds_bucket{le="0.5"} 1');
  expect(lines).toContain('vmmessage_request_seconds_bucket{le="0.005"} 1');
});

test("a hostile name is one label, quoted and bounded", async () => {
  const metrics = new Metrics();
  const name = `a"} 1\nfake_metric 2\\\ud800${"x".repeat(10_000)}`;
  metrics.forVm({ id: web.id, name }).sent(1);
  const text = await metrics.scrape(nothing);
  expect(text).not.toMatch(/^fake_metric/m);
  expect(text.isWellFormed()).toBe(true);
  const [line = ""] = text.split("\n").filter((candidate) => candidate.startsWith("vmmessage_link_sent_bytes_total{"));
  expect(line.length).toBeLessThan(500);
});

test("the process's own metrics are there", async () => {
  expect(await new Metrics().scrape(nothing)).toContain("process_resident_memory_bytes");
});

test("a sink's series say where it stands, and end with it", async () => {
  const metrics = new Metrics();
  const sink = { id: "config:bus", isConnected: false, backlog: 12, retrying: 1, deadLetters: 2 };
  metrics.attempted("config:bus", "failed");
  metrics.events([{ category: "AlertEvent" }, { category: "AlertEvent" }]);
  const lines = await linesOf(metrics, { sinks: [sink] });
  expect(lines).toContain('vmmessage_sink_connected{sink="config:bus"} 0');
  expect(lines).toContain('vmmessage_sink_backlog{sink="config:bus"} 12');
  expect(lines).toContain('vmmessage_sink_retrying{sink="config:bus"} 1');
  expect(lines).toContain('vmmessage_sink_dead_letters{sink="config:bus"} 2');
  expect(lines).toContain('vmmessage_sink_deliveries_total{sink="config:bus",outcome="failed"} 1');
  expect(lines).toContain('vmmessage_events_total{category="AlertEvent"} 2');
  expect((await linesOf(metrics)).filter((line) => line.includes("backlog"))).toEqual([]);
});

const mebibyte = 1024 * 1024;
const guest = {
  vm: web,
  isUp: true,
  applications: [
    { name: "db", isOk: true },
    { name: "queue", isOk: false },
  ],
  stats: {
    uptimeMs: 90_500,
    loadAverage: [0.5, 1.25, 2],
    cpus: 4,
    cpuBusyMs: 12_500,
    cpuIdleMs: 100_000,
    memoryTotalBytes: 512 * mebibyte,
    memoryAvailableBytes: 128 * mebibyte,
    disks: [{ path: "/var", totalBytes: 1_000, availableBytes: 250 }],
  },
};

test("a guest's series say how it is, in base units", async () => {
  const lines = (await linesOf(new Metrics(), { guests: [guest] })).filter((line) => line.includes("guest_"));
  expect(lines).toEqual([
    `vmmessage_guest_up{${labels}} 1`,
    `vmmessage_guest_application_up{${labels},application="db"} 1`,
    `vmmessage_guest_application_up{${labels},application="queue"} 0`,
    `vmmessage_guest_load1{${labels}} 0.5`,
    `vmmessage_guest_load5{${labels}} 1.25`,
    `vmmessage_guest_load15{${labels}} 2`,
    `vmmessage_guest_uptime_seconds{${labels}} 90.5`,
    `vmmessage_guest_cpus{${labels}} 4`,
    `vmmessage_guest_cpu_seconds_total{${labels},mode="busy"} 12.5`,
    `vmmessage_guest_cpu_seconds_total{${labels},mode="idle"} 100`,
    `vmmessage_guest_memory_total_bytes{${labels}} 536870912`,
    `vmmessage_guest_memory_available_bytes{${labels}} 134217728`,
    `vmmessage_guest_disk_total_bytes{${labels},path="/var"} 1000`,
    `vmmessage_guest_disk_available_bytes{${labels},path="/var"} 250`,
  ]);
});

test("what is not known of a guest has no series, and what was known before leaves none behind", async () => {
  const metrics = new Metrics();
  await linesOf(metrics, { guests: [guest] });
  const unknown = { ...guest, isUp: undefined, applications: [], stats: undefined };
  expect((await linesOf(metrics, { guests: [unknown] })).filter((line) => line.includes("vm_id"))).toEqual([]);
});

test("a guest that is down is a zero, and its processors' time does not add up over scrapes", async () => {
  const metrics = new Metrics();
  await linesOf(metrics, { guests: [guest] });
  const lines = await linesOf(metrics, { guests: [{ ...guest, isUp: false }] });
  expect(lines).toContain(`vmmessage_guest_up{${labels}} 0`);
  expect(lines).toContain(`vmmessage_guest_cpu_seconds_total{${labels},mode="busy"} 12.5`);
});

test("a path that a hostile guest names is one label, printable and bounded", async () => {
  const path = `/a"} 1\nfake_metric 2\u001b[2J\u202e${"\u0000".repeat(10_000)}`;
  const stats = { ...guest.stats, disks: [{ path, totalBytes: 1, availableBytes: 1 }] };
  const text = await new Metrics().scrape({ ...nothing, guests: [{ ...guest, stats }] });
  expect(text).not.toMatch(/^fake_metric/m);
  expect(text).not.toMatch(/[\u0000\u001b\u202e]/);
  const [line = ""] = text.split("\n").filter((candidate) => candidate.startsWith("vmmessage_guest_disk_total_bytes{"));
  expect(line.length).toBeLessThan(500);
});

test("pings and recoveries are counted by what became of them; an outcome that never was is zero", async () => {
  const metrics = new Metrics();
  metrics.pinged("answered");
  metrics.pinged("answered");
  metrics.pinged("missed");
  metrics.recovered("restart", "succeeded");
  const lines = await linesOf(metrics);
  expect(lines).toContain('vmmessage_monitor_pings_total{outcome="answered"} 2');
  expect(lines).toContain('vmmessage_monitor_pings_total{outcome="missed"} 1');
  expect(lines).toContain('vmmessage_monitor_pings_total{outcome="unknown"} 0');
  expect(lines).toContain('vmmessage_recoveries_total{policy="restart",outcome="succeeded"} 1');
});
