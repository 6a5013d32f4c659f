/** One manager and a thousand guests, of which one says all it can and another one hears nothing. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { FleetResult, NewMessage } from "../../../../shared/api/schemas.ts";
import { GuestFleet } from "../../../bench/manager/guest-fleet.ts";
import { ManagerCalls } from "../../../bench/manager/manager-calls.ts";
import { ManagerUnderTest } from "../../support/managers.ts";

const GUESTS = 1_000;
const DEAF = "guest0";
const FLOODING = "flooding0";

/** What one guest may send by default, and what Node reads from its socket before that is looked at. */
const QUOTA_BYTES_PER_SECOND = 512 * 1024;
const QUOTA_BURST_BYTES = 2 * 1024 * 1024;
const READ_BYTES = 64 * 1024;

/** The flooding guest is held back for so long before we look: a reader without a limit had hundreds of MiB by then. */
const HELD_BACK_S = 2;

/** What is kept of the flood would be far over this, and what is garbage goes: RSS tells neither from the other. */
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;

/** Nothing here is about how long it takes; this is for a machine that is busy with other tests too. */
const SOON = { timeout: 120_000, interval: 50 };
const SETUP_TIMEOUT_MS = 240_000;

describe("a thousand guests", () => {
  const resources = new AsyncDisposableStack();
  let manager: ManagerUnderTest;
  let calls: ManagerCalls;
  let guests: GuestFleet;
  let flooding: GuestFleet;
  let linkedBytes: number;
  let floodStartedAt: number;

  beforeAll(async () => {
    guests = resources.use(await GuestFleet.start("guest", GUESTS - 1));
    flooding = resources.use(await GuestFleet.start("flooding", 1));
    manager = resources.use(await ManagerUnderTest.start([...guests.guests, ...flooding.guests]));
    calls = new ManagerCalls(manager.socketPath);
    await vi.waitFor(async () => {
      expect(await calls.linksUp()).toBe(GUESTS);
    }, SOON);
    linkedBytes = await bytesInUse(calls);
    await guests.command({ type: "stop-reading", guest: DEAF });
    await flooding.command({ type: "flood", guest: FLOODING });
    floodStartedAt = performance.now();
  }, SETUP_TIMEOUT_MS);

  afterAll(async () => {
    calls.close();
    await resources.disposeAsync();
  });

  test(
    "get one message and acknowledge it, none lost and none twice",
    async () => {
      const acknowledged = await acknowledgedBy(calls, GUESTS - 2);
      for (const { vm, receipt } of acknowledged) expect(receipt?.acknowledgement?.result).toBe(vm.name);
      // The last of them are still to hear that their acknowledgement was taken.
      await vi.waitFor(async () => {
        for (const [name, { done, taken }] of Object.entries(await guests.command({ type: "count" }))) {
          const times = name === DEAF ? 0 : 1;
          expect({ name, done, taken }).toEqual({ name, done: times, taken: times });
        }
      }, SOON);
    },
    SOON.timeout,
  );

  test(
    "cannot be drowned by one that floods: it is read as fast as its quota says",
    async () => {
      await vi.waitFor(async () => {
        const heldBackS = await calls.counter("vmmessage_throttled_seconds_total", FLOODING);
        expect(heldBackS).toBeGreaterThan(HELD_BACK_S);
      }, SOON);
      const receivedBytes = await calls.counter("vmmessage_link_received_bytes_total", FLOODING);
      const floodedS = (performance.now() - floodStartedAt) / 1000;
      expect(receivedBytes).toBeLessThan(QUOTA_BURST_BYTES + READ_BYTES + floodedS * QUOTA_BYTES_PER_SECOND);
      await vi.waitFor(async () => {
        expect((await bytesInUse(calls)) - linkedBytes).toBeLessThan(MAX_GROWTH_BYTES);
      }, SOON);
    },
    SOON.timeout,
  );

  test("do not wait for one that reads nothing, and its message waits for it", async () => {
    const { pending } = await manager.vm(DEAF);
    expect(pending).toBe(1);
    expect(await manager.get(`/v1/vms/${DEAF}/messages`)).toMatchObject({
      body: { receipts: [{ state: "queued", keys: ["role"] }] },
    });
  });
});

/** Sends one message to all and settles when so many guests other than the two have acknowledged it. */
async function acknowledgedBy(calls: ManagerCalls, count: number): Promise<FleetResult[]> {
  const request: NewMessage = {
    method: "set",
    params: { entries: [{ key: "role", value: "frontend" }] },
    waitFor: "acknowledged",
    waitMs: SOON.timeout,
  };
  const acknowledged: FleetResult[] = [];
  for await (const result of calls.fleet({ vms: { all: true }, request })) {
    if (result.vm.name === DEAF || result.vm.name === FLOODING) continue;
    expect(result.receipt?.state).toBe("acknowledged");
    acknowledged.push(result);
    if (acknowledged.length === count) break;
  }
  expect(new Set(acknowledged.map(({ vm }) => vm.id)).size).toBe(count);
  return acknowledged;
}

/** What the manager's objects and buffers take, garbage that is not collected yet among them. */
async function bytesInUse(calls: ManagerCalls): Promise<number> {
  const objects = await calls.counter("nodejs_heap_size_used_bytes");
  return objects + (await calls.counter("nodejs_external_memory_bytes"));
}
