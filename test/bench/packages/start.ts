/** Whole runs of the executables, from the start of the process to its end. */
import { join } from "node:path";
import { KEY, medianMs, setKey } from "../cli-start.ts";
import type { Figure } from "../figure.ts";
import { LocalAgent } from "../local-agent.ts";
import type { Progress } from "../progress.ts";

const HASTE = "<= 1.7";

type Program = "agent" | "vmmessage" | "vmmessaged";

/** A command line, and what its figures are called. */
interface Start {
  name: string;
  program: Program;
  args: string[];
  /** Of the ratio to a Node that does nothing. */
  goal?: string;
}

/** @param executables the directory they are in */
export async function startFigures(executables: string, progress: Progress): Promise<Figure[]> {
  progress("starting an agent");
  await using agent = await LocalAgent.start();
  await setKey(agent.channelPath);
  const starts = startsAgainst(agent);
  const commands = starts.flatMap(({ program, args }) => [
    [join(executables, program), ...args],
    [process.execPath, join(agent.bundle, `${program}.js`), ...args],
  ]);
  const [bareNode, ...durations] = medianMs([[process.execPath, "-e", "0"], ...commands], progress);
  return starts.flatMap((start, index) => {
    const [executable = Number.NaN, bundle = Number.NaN] = durations.slice(2 * index);
    return figuresOf(start, { executable, bundle, bareNode });
  });
}

/** Those that end by themselves; the manager has no other than what tells its version. */
function startsAgainst({ runDirectory, channelPath }: LocalAgent): Start[] {
  const get = ["--run-dir", runDirectory, "-g", KEY];
  const query = ["--socket", channelPath, "-v", "bench", "-q", KEY];
  return [
    { name: "agent_version", program: "agent", args: ["--version"], goal: HASTE },
    { name: "agent_get", program: "agent", args: get, goal: HASTE },
    { name: "vmmessage_version", program: "vmmessage", args: ["--version"], goal: HASTE },
    { name: "vmmessage_query", program: "vmmessage", args: query, goal: HASTE },
    { name: "vmmessaged_version", program: "vmmessaged", args: ["--version"] },
  ];
}

interface DurationsMs {
  executable: number;
  bundle: number;
  bareNode: number;
}

function figuresOf({ name, goal }: Start, { executable, bundle, bareNode }: DurationsMs): Figure[] {
  const peerName = "bundle under node";
  const ratios = { ours: executable / bareNode, peer: bundle / bareNode, peerName };
  const durations = { ours: executable, peer: bundle, peerName, floor: bareNode, floorName: "node -e 0" };
  return [
    { name: `packages.${name}_ratio`, unit: "x", ...ratios, ...(goal === undefined ? {} : { goal }) },
    { name: `packages.${name}_ms`, unit: "ms", ...durations },
  ];
}
