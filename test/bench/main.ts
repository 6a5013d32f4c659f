// The benchmark: `node test/bench/main.ts [PART...] [--json FILE]`. docs/benchmarks.md says what the figures mean.
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { Figure } from "./figure.ts";
import { type Progress, terminalProgress } from "./progress.ts";
import { figuresJson, figuresTable } from "./report.ts";

/** In the order in which they run. Loaded when asked for: only three of them need a virtual machine. */
const parts: Record<string, (progress: Progress) => Promise<Figure[]>> = {
  vm: async (progress) => (await import("./vm-round-trips.ts")).vmFigures(progress),
  idle: async (progress) => (await import("./idle.ts")).idleFigures(progress),
  native: async (progress) => (await import("./native-round-trips.ts")).nativeFigures(progress),
  cli: async (progress) => (await import("./cli-start.ts")).cliFigures(progress),
  manager: async (progress) => (await import("./manager/figures.ts")).managerFigures(progress),
  events: async (progress) => (await import("./events/figures.ts")).eventsFigures(progress),
  across: async (progress) => (await import("./across/figures.ts")).acrossFigures(progress),
  monitor: async (progress) => (await import("./monitor/figures.ts")).monitorFigures(progress),
  packages: async (progress) => (await import("./packages/figures.ts")).packagesFigures(progress),
  codec: async () => (await import("./codec.ts")).codecFigures(),
};

const help = `usage: node test/bench/main.ts [PART...] [--json FILE]

Measures the project against programs that do the same, and prints a table; all parts take fifty minutes.

Parts:
  vm       round trips host -> guest -> host in a virtual machine, against qemu-guest-agent and a C echo
  idle     what the agent costs while it has nothing to do, and how soon it answers a host that comes
  native   round trips over a Unix socket without a guest, against qemu-guest-agent and a Node echo
  cli      whole runs of agent and vmmessage, against a bare Node
  manager  one manager with 1,000 simulated guests, against a bare program with as many sockets
  events   events to a broker and to webhooks, against bare programs that publish and post the same
  across   queries and messages to VMs of other managers over a broker, against bare programs that ask and answer there
  monitor  how soon a guest that fails is told of, against Masakari's monitor, and how even its pings are
  packages executables and packages, built first: their start, size and memory, against the bundles under node
  codec    encoding and decoding of messages, against JSON alone

Options:
  --json FILE  write the figures to FILE as well
  --help       print this help

Examples:
  npm run bench
  npm run bench -- cli codec
  npm run bench -- vm --json figures.json
`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { json: { type: "string" }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const figures = await measure(chosenParts(positionals));
  process.stdout.write(figuresTable(figures));
  if (values.json !== undefined) await writeFile(values.json, figuresJson(figures));
}

function chosenParts(names: string[]): string[] {
  const unknown = names.find((name) => !Object.hasOwn(parts, name));
  if (unknown !== undefined)
    throw new Error(`there is no part '${unknown}'; there are ${Object.keys(parts).join(", ")}`);
  return names.length === 0 ? Object.keys(parts) : names;
}

async function measure(names: string[]): Promise<Figure[]> {
  const progress = terminalProgress(process.stderr);
  const figures: Figure[] = [];
  for (const name of names) {
    const part = (text: string): void => {
      progress(`${name}: ${text}`);
    };
    figures.push(...((await parts[name]?.(part)) ?? []));
    progress("");
  }
  return figures;
}

try {
  await main();
} catch (error) {
  console.error("bench:", error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
