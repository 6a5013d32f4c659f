/** `across.list_all*`, `across.messages*`: one real manager among fifty simulated ones that meet at one broker. */
import type { VmList } from "../../../shared/api/schemas.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import { WorkerProcess } from "../events/worker-process.ts";
import type { Figure } from "../figure.ts";
import { ManagerProcess } from "../manager/manager-process.ts";
import { median, summary } from "../statistics.ts";
import type { AskBare } from "./bare-requester.ts";
import type { Setting } from "./figures.ts";
import { simulatedVmName } from "./simulated-manager.ts";

const MANAGERS = 50;
const VMS_EACH = 20;
const VMS = MANAGERS * VMS_EACH;

/** They are many programs on a machine that has few processors. */
const WORKERS = 5;
const MANAGERS_EACH = MANAGERS / WORKERS;

const LIST_ROUNDS = 21;
const SEND_ROUNDS = 7;
const MESSAGES_A_ROUND = 2_000;
const AT_ONCE = 32;

const MEET_TIMEOUT_MS = 120_000;

type BareRequester = WorkerProcess<AskBare, number>;

export async function manyManagersFigures(setting: Setting): Promise<Figure[]> {
  const { bundle, peers, progress } = setting;
  progress(`starting ${MANAGERS} managers`);
  await using resources = new AsyncDisposableStack();
  for (let worker = 0; worker < WORKERS; worker += 1) {
    const args = [peers.url, peers.keyFile, String(worker * MANAGERS_EACH), String(MANAGERS_EACH), String(VMS_EACH)];
    resources.use(await WorkerProcess.start("../across/simulated-managers.ts", args));
  }
  const asking = resources.use(await ManagerProcess.start(bundle, { peers }));
  const isComplete = (): Promise<boolean> =>
    listAll(asking).then(
      (found) => found === VMS,
      () => false,
    );
  await waitFor(`${VMS} VMs`, isComplete, { timeoutMs: MEET_TIMEOUT_MS, intervalMs: 1_000 });
  const bytes = JSON.stringify(await asking.calls.ask<VmList>("/v1/vms?everywhere=true")).length / MANAGERS;
  const bare = await startBare(setting, resources, Math.round(bytes));
  return [...(await listFigures(asking, bare, setting)), ...(await sendFigures(asking, bare, setting))];
}

/** Answerers in as many processes as there are of simulated managers. */
async function startBare({ rabbit }: Setting, resources: AsyncDisposableStack, bytes: number): Promise<BareRequester> {
  const port = String(rabbit.port);
  for (let worker = 0; worker < WORKERS; worker += 1) {
    const args = [port, String(worker * MANAGERS_EACH), String(MANAGERS_EACH), String(bytes)];
    resources.use(await WorkerProcess.start("../across/bare-answerer.ts", args));
  }
  return resources.use(await WorkerProcess.start<AskBare, number>("../across/bare-requester.ts", [port]));
}

/** All VMs of all managers; the floor is one message to everyone and fifty answers as long. */
async function listFigures(asking: ManagerProcess, bare: BareRequester, { progress }: Setting): Promise<Figure[]> {
  const ours: number[] = [];
  const floor: number[] = [];
  // The first warms up.
  for (let round = 0; round <= LIST_ROUNDS; round += 1) {
    progress(`listing ${VMS} VMs, ${round} of ${LIST_ROUNDS}`);
    const startedAt = performance.now();
    const found = await listAll(asking);
    const ms = performance.now() - startedAt;
    if (found !== VMS) throw new Error(`${found} of ${VMS} VMs were listed`);
    const bareMs = await bare.ask({ type: "everyone", answers: MANAGERS });
    if (round === 0) continue;
    ours.push(ms);
    floor.push(bareMs);
  }
  const ratios = ours.map((ms, round) => ms / (floor[round] ?? Number.NaN));
  return [
    { name: "across.list_all_ms", unit: "ms", ...summary(ours), floor: median(floor), floorName: "bare amqplib" },
    { name: "across.list_all_ratio", unit: "x", ...summary(ratios) },
  ];
}

async function listAll({ calls }: ManagerProcess): Promise<number> {
  return (await calls.ask<VmList>("/v1/vms?everywhere=true")).vms.length;
}

/** Messages to the VMs of all others in turn, until the last receipt is there. */
async function sendFigures(asking: ManagerProcess, bare: BareRequester, { progress }: Setting): Promise<Figure[]> {
  const ours: number[] = [];
  const floor: number[] = [];
  for (let round = 0; round <= SEND_ROUNDS; round += 1) {
    progress(`messages to other hosts, ${round} of ${SEND_ROUNDS}`);
    const ms = await sendAllMs(asking);
    const command = { type: "each", requests: MESSAGES_A_ROUND, answerers: MANAGERS, atOnce: AT_ONCE } as const;
    const bareMs = await bare.ask(command);
    if (round === 0) continue;
    ours.push((MESSAGES_A_ROUND * 1_000) / ms);
    floor.push((MESSAGES_A_ROUND * 1_000) / bareMs);
  }
  const ratios = ours.map((rate, round) => rate / (floor[round] ?? Number.NaN));
  return [
    { name: "across.messages_per_s", unit: "1/s", ...summary(ours), floor: median(floor), floorName: "bare amqplib" },
    { name: "across.messages_ratio", unit: "x", ...summary(ratios) },
  ];
}

async function sendAllMs({ calls }: ManagerProcess): Promise<number> {
  const messages = Array.from({ length: MESSAGES_A_ROUND }, (_, index) => index).values();
  const sender = async (): Promise<void> => {
    for (const index of messages) {
      const entries = [{ key: "com.example.bench", value: String(index) }];
      // One after the other of the managers, as the bare program's.
      const name = simulatedVmName(index % MANAGERS, Math.floor(index / MANAGERS) % VMS_EACH);
      await calls.send(name, { method: "set", params: { entries } });
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, sender));
  return performance.now() - startedAt;
}
