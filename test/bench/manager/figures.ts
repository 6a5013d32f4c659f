/** `manager.*`: one manager with a thousand guests. The guests are simulated in other processes; what they say is real. */
import { setTimeout as sleep } from "node:timers/promises";
import { buildBundles } from "../../../scripts/build.ts";
import type { NewMessage } from "../../../shared/api/schemas.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import type { Figure } from "../figure.ts";
import { settledPrivateKib } from "../memory.ts";
import type { Progress } from "../progress.ts";
import { median, percentile, summary } from "../statistics.ts";
import { BareHost } from "./bare-host.ts";
import { GuestFleet } from "./guest-fleet.ts";
import { ManagerProcess } from "./manager-process.ts";

const GUESTS = 1000;
const FLOODING = "flooding0";

const CONNECT_ROUNDS = 3;
const CHANGE_ROUNDS = 5;
const CHANGE_MS = 3000;
const FLOOD_ROUNDS = 7;
/** One at a time: more than the flood's first second, in which it is not held back yet. */
const PINGS_A_ROUND = 1500;
const SEND_ROUNDS = 9;
const SEND_TIMEOUT_MS = 120_000;

const JSON_MS = 500;

/** Everything that the figures are measured on. */
interface Setting {
  bundle: string;
  guests: GuestFleet;
  /** Guests of the bare program: a guest has one host. */
  bareGuests: GuestFleet;
  flooding: GuestFleet;
  progress: Progress;
}

export async function managerFigures(progress: Progress): Promise<Figure[]> {
  progress(`starting ${GUESTS} guests`);
  await using resources = new AsyncDisposableStack();
  const bundle = await createTemporaryDirectory();
  resources.defer(() => removeTemporaryDirectory(bundle));
  await buildBundles({ outDir: bundle });
  const setting: Setting = {
    bundle,
    guests: resources.use(await GuestFleet.start("guest", GUESTS)),
    bareGuests: resources.use(await GuestFleet.start("bare", GUESTS)),
    flooding: resources.use(await GuestFleet.start("flooding", 1)),
    progress,
  };
  const linkFigures = await linkingFigures(setting);
  const manager = resources.use(await ManagerProcess.start(bundle));
  await manager.link([...setting.guests.guests, ...setting.flooding.guests]);
  return [
    ...linkFigures,
    await changesFigure(manager, setting),
    await floodFigure(manager, setting),
    await sendAllFigure(manager, setting),
  ];
}

/** Each round has a manager and a bare program that have just been started. */
async function linkingFigures({ bundle, guests, bareGuests, progress }: Setting): Promise<Figure[]> {
  const ours: Linking[] = [];
  const floor: Linking[] = [];
  for (let round = 1; round <= CONNECT_ROUNDS; round += 1) {
    progress(`linking, ${round} of ${CONNECT_ROUNDS}`);
    await using manager = await ManagerProcess.start(bundle);
    ours.push(await linking(manager.pid, () => manager.link(guests.guests)));
    await using bare = await BareHost.start();
    floor.push(await linking(bare.pid, () => bare.open(bareGuests.guests)));
  }
  const floorName = "bare links";
  const figure = (of: (linking: Linking) => number) => {
    return { ...summary(ours.map(of)), floor: median(floor.map(of)), floorName };
  };
  return [
    { name: "manager.connect_1000_s", unit: "s", ...figure(({ seconds }) => seconds) },
    { name: "manager.link_kib", unit: "KiB", ...figure(({ kibPerLink }) => kibPerLink), goal: "<= 64" },
  ];
}

interface Linking {
  seconds: number;
  kibPerLink: number;
}

async function linking(pid: number, link: () => Promise<unknown>): Promise<Linking> {
  const before = await settledPrivateKib(pid);
  const startedAt = performance.now();
  await link();
  const seconds = (performance.now() - startedAt) / 1000;
  return { seconds, kibPerLink: ((await settledPrivateKib(pid)) - before) / GUESTS };
}

/** Every guest sets keys as fast as its channel takes it; until all of them stand in the manager's mirror. */
async function changesFigure({ calls }: ManagerProcess, { guests, progress }: Setting): Promise<Figure> {
  const mirrored = (): Promise<number> => calls.counter("vmmessage_guest_changes_total");
  const rates: number[] = [];
  for (let round = 1; round <= CHANGE_ROUNDS; round += 1) {
    progress(`changes of all guests, ${round} of ${CHANGE_ROUNDS}`);
    const before = await mirrored();
    const startedAt = performance.now();
    const sentBefore = sumOfChanges(await guests.command({ type: "change" }));
    await sleep(CHANGE_MS);
    const sent = sumOfChanges(await guests.command({ type: "rest" })) - sentBefore;
    await waitFor("all changes to be mirrored", async () => (await mirrored()) - before >= sent);
    rates.push(sent / ((performance.now() - startedAt) / 1000));
  }
  return {
    name: "manager.changes_per_s",
    unit: "1/s",
    ...summary(rates),
    floor: jsonParsedPerSecond(),
    floorName: "JSON.parse",
    goal: ">= 10000",
  };
}

function sumOfChanges(counters: Record<string, { changes: number }>): number {
  return Object.values(counters).reduce((sum, { changes }) => sum + changes, 0);
}

/** The payload of one such change, parsed again and again. */
function jsonParsedPerSecond(): number {
  const nonce = "0123456789abcdef";
  const entry = { key: "com.example.counter.1", value: "12345", setBy: "guest", setAt: new Date().toISOString() };
  const changes = [{ ...entry, ageMs: 0, revision: 12_345, messageId: "guest123.12345" }];
  const params = { session: nonce, watch: 1, epoch: nonce, revision: 12_345, more: false, resync: false, changes };
  const payload = JSON.stringify({ jsonrpc: "2.0", method: "changed", params });
  const startedAt = performance.now();
  let parsed = 0;
  for (; performance.now() - startedAt < JSON_MS; parsed += 1) JSON.parse(payload);
  return parsed / ((performance.now() - startedAt) / 1000);
}

/** Pings of the others through the API, before one guest floods and while it does. */
async function floodFigure({ calls }: ManagerProcess, { guests, flooding, progress }: Setting): Promise<Figure> {
  const p99Ms = async (): Promise<number> => {
    const durations: number[] = [];
    for (let count = 0; count < PINGS_A_ROUND; count += 1) {
      const { name } = guests.guests[count % GUESTS] ?? { name: "" };
      const startedAt = performance.now();
      await calls.ping(name);
      durations.push(performance.now() - startedAt);
    }
    return percentile(durations, 99);
  };
  await p99Ms();
  const ratios: number[] = [];
  for (let round = 1; round <= FLOOD_ROUNDS; round += 1) {
    progress(`pings beside a flood, ${round} of ${FLOOD_ROUNDS}`);
    const before = await p99Ms();
    await flooding.command({ type: "flood", guest: FLOODING });
    ratios.push((await p99Ms()) / before);
    await flooding.command({ type: "stop-flood", guest: FLOODING });
  }
  return { name: "manager.flood_p99_ratio", unit: "x", ...summary(ratios), goal: "< 2" };
}

/** One message to all, until the last receipt says delivered. The guests acknowledge it, and that is kept, too. */
async function sendAllFigure({ calls }: ManagerProcess, { bareGuests, progress }: Setting): Promise<Figure> {
  await using bare = await BareHost.start();
  await bare.open(bareGuests.guests);
  const ours: number[] = [];
  const floor: number[] = [];
  for (let round = 1; round <= SEND_ROUNDS; round += 1) {
    progress(`a message to all, ${round} of ${SEND_ROUNDS}`);
    const entries = [{ key: "role", value: String(round) }];
    const waiting = { waitFor: "delivered", waitMs: SEND_TIMEOUT_MS } as const;
    const request: NewMessage = { method: "set", params: { entries }, ...waiting };
    const startedAt = performance.now();
    for await (const { vm, receipt } of calls.fleet({ vms: { names: ["guest*"] }, request })) {
      // Its acknowledgement can be known a moment before its delivery is.
      const isDelivered = receipt?.state === "delivered" || receipt?.state === "acknowledged";
      if (!isDelivered) throw new Error(`${vm.name}: its message was not delivered`);
    }
    ours.push((performance.now() - startedAt) / 1000);
    floor.push(await bare.sendAll());
  }
  const floorName = "bare links";
  return { name: "manager.send_all_1000_s", unit: "s", ...summary(ours), floor: median(floor), floorName };
}
