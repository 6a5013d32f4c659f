/** `across.get*`: a query of a VM that another manager holds, and the same query at home. */
import { LocalAgent } from "../local-agent.ts";
import type { Figure } from "../figure.ts";
import { WorkerProcess } from "../events/worker-process.ts";
import { ManagerProcess } from "../manager/manager-process.ts";
import { interleaved, latencyFigures, type RoundTrip } from "../round-trips.ts";
import { percentile } from "../statistics.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import type { AskBare } from "./bare-requester.ts";
import type { Setting } from "./figures.ts";

const VM = "web1";
const KEY = "com.example.bench";
const PATH = `/v1/vms/${VM}/keys/${KEY}`;

/** Until managers have met that were just started. */
const MEET_TIMEOUT_MS = 60_000;

export async function otherHostFigures({ rabbit, bundle, peers, progress }: Setting): Promise<Figure[]> {
  progress("starting two managers and an agent");
  await using resources = new AsyncDisposableStack();
  const agent = resources.use(await LocalAgent.start());
  const home = resources.use(await ManagerProcess.start(bundle, { peers }));
  const other = resources.use(await ManagerProcess.start(bundle, { peers }));
  await home.link([{ name: VM, socket: agent.channelPath }]);
  await home.calls.send(VM, { method: "set", params: { entries: [{ key: KEY, value: "x".repeat(100) }] } });
  for (const { calls } of [home, other])
    await waitFor(`${VM} to answer`, () => answers(calls), { timeoutMs: MEET_TIMEOUT_MS });
  resources.use(await WorkerProcess.start("../across/bare-answerer.ts", [String(rabbit.port), "0", "1", "0"]));
  const bare = resources.use(
    await WorkerProcess.start<AskBare, number>("../across/bare-requester.ts", [String(rabbit.port)]),
  );
  const measured = await interleaved(
    {
      home: query(home),
      across: query(other),
      bare: () => bare.ask({ type: "each", requests: 1, answerers: 1, atOnce: 1 }),
    },
    progress,
  );
  const ratio = (percent: number): number => percentile(measured.across, percent) / percentile(measured.home, percent);
  return [
    { name: "across.roundtrip_ratio.p50", unit: "x", ours: ratio(50) },
    { name: "across.roundtrip_ratio.p99", unit: "x", ours: ratio(99) },
    ...latencyFigures("across.get", {
      ours: measured.across,
      peer: measured.home,
      peerName: "at home",
      floor: measured.bare,
      floorName: "bare amqplib",
    }),
  ];
}

/** From the request to the manager until its answer is parsed. */
function query({ calls }: ManagerProcess): RoundTrip {
  return async () => {
    const startedAt = performance.now();
    await calls.ask(PATH);
    return performance.now() - startedAt;
  };
}

function answers(calls: ManagerProcess["calls"]): Promise<boolean> {
  return calls.ask(PATH).then(
    () => true,
    () => false,
  );
}
