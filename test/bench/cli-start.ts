/** `cli.*`: whole runs of the bundled commands on this machine, from the start of the process to its end. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { newMessageId } from "../../shared/random.ts";
import type { Figure } from "./figure.ts";
import { childEnvironment, LocalAgent } from "./local-agent.ts";
import type { Progress } from "./progress.ts";
import { AgentLink } from "./request-link.ts";
import { median } from "./statistics.ts";

const RUNS = 80;
const WARM_UP_RUNS = 3;
export const KEY = "bench.key";
const VALUE = "x".repeat(100);

export async function cliFigures(progress: Progress): Promise<Figure[]> {
  progress("starting an agent");
  await using agent = await LocalAgent.start();
  await setKey(agent.channelPath);
  const query = ["--socket", agent.channelPath, "-v", "bench", "-q", KEY];
  const [bareNode, cat, agentGet, vmmessageQuery] = medianMs(
    [
      [process.execPath, "-e", "0"],
      ["cat", join(agent.runDirectory, "keys", KEY)],
      [...agent.command("agent"), "--run-dir", agent.runDirectory, "-g", KEY],
      [...agent.command("vmmessage"), ...query],
    ],
    progress,
  );
  const others = { peer: bareNode, peerName: "node -e 0", floor: cat, floorName: "cat", goal: "ours <= 1.5x peer" };
  return [
    { name: "cli.agent_get_ms", unit: "ms", ours: agentGet, ...others },
    { name: "cli.vmmessage_query_ms", unit: "ms", ours: vmmessageQuery, ...others },
  ];
}

/** Runs the commands in turn, and gives the median of each. */
export function medianMs<C extends string[][]>(commands: [...C], progress: Progress): { [I in keyof C]: number } {
  const measured = commands.map((): number[] => []);
  for (let run = -WARM_UP_RUNS; run < RUNS; run++) {
    progress(`${Math.max(run, 0)} of ${RUNS} runs of each command`);
    for (const [index, command] of commands.entries()) {
      const elapsedMs = wallTimeMs(command);
      if (run >= 0) measured[index]?.push(elapsedMs);
    }
  }
  return measured.map(median) as { [I in keyof C]: number };
}

/** Synchronous, so that nothing in this process comes between. */
function wallTimeMs(command: string[]): number {
  const [program = "", ...args] = command;
  const start = performance.now();
  const { status, stderr } = spawnSync(program, args, { env: childEnvironment, stdio: ["ignore", "pipe", "pipe"] });
  const elapsedMs = performance.now() - start;
  if (status !== 0) throw new Error(`${command.join(" ")} ended with exit code ${String(status)}: ${String(stderr)}`);
  return elapsedMs;
}

/** Sets KEY to a hundred bytes. */
export async function setKey(channelPath: string): Promise<void> {
  const link = await AgentLink.open(channelPath);
  await link.roundTripMs("set", { messageId: newMessageId(), entries: [{ key: KEY, value: VALUE }] });
  await link.close();
}
