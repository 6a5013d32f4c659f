/** The private memory of daemons that have nothing to do. */
import { copyFile, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Figure } from "../figure.ts";
import { LocalServer } from "../local-agent.ts";
import { type PrivateMemory, settledPrivateMemory } from "../memory.ts";
import type { Progress } from "../progress.ts";
import { median, summary } from "../statistics.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";

const ROUNDS = 3;

/** A daemon that is to be started as an executable and as a bundle. */
interface Daemon {
  name: "agent" | "vmmessaged";
  /** What the first line of its bundle says (scripts/build.ts). */
  nodeOptions: string[];
  /** Its arguments, and the socket that it serves when it is ready, in a directory of its own. */
  prepare(directory: string): Promise<{ args: string[]; socketPath: string }>;
}

const agent: Daemon = {
  name: "agent",
  nodeOptions: [],
  prepare: (directory) => {
    const socketPath = join(directory, "channel");
    const places = ["--state-dir", join(directory, "state"), "--run-dir", join(directory, "run")];
    return Promise.resolve({ args: ["run", "-d", "0", "--channel", `unix:${socketPath}`, ...places], socketPath });
  },
};

/** Without guests. */
const manager: Daemon = {
  name: "vmmessaged",
  nodeOptions: ["--max-semi-space-size=4"],
  prepare: async (directory) => {
    const inventory = join(directory, "vms.json");
    const config = join(directory, "manager.json");
    await writeFile(inventory, JSON.stringify({ vms: [] }));
    await writeFile(config, JSON.stringify({ inventory: { files: [inventory] } }));
    const places = [`--state-dir=${join(directory, "state")}`, `--run-dir=${join(directory, "run")}`];
    return { args: [`--config=${config}`, ...places], socketPath: join(directory, "run", "manager.sock") };
  },
};

/** @param executables, bundles the directories they are in */
export async function idleMemoryFigures(executables: string, bundles: string, progress: Progress): Promise<Figure[]> {
  // On their own file system: what lies in memory alone would count as written to.
  const directory = await mkdtemp(`${executables}-`);
  try {
    const node = await freshCopy(process.execPath, join(directory, "node"));
    const figures: Figure[] = [];
    for (const daemon of [agent, manager]) {
      const executable = await freshCopy(join(executables, daemon.name), join(directory, daemon.name));
      const bundle = [node, ...daemon.nodeOptions, join(bundles, `${daemon.name}.js`)];
      figures.push(...(await figuresOf(daemon, { executable: [executable], bundle }, progress)));
    }
    return figures;
  } finally {
    await rm(directory, { recursive: true });
  }
}

/**
 * Copies a program, to be run by nobody else: the pages of a file that several processes run are nobody's own. How many of
 * them a process gets at a time depends on how the file came into the page cache; so all copies are made in the same way.
 */
async function freshCopy(from: string, to: string): Promise<string> {
  await copyFile(from, to);
  await using file = await open(to, "r");
  // A page that is not on disk yet counts as written to by the process.
  await file.sync();
  return to;
}

interface Commands {
  executable: string[];
  bundle: string[];
}

async function figuresOf(daemon: Daemon, commands: Commands, progress: Progress): Promise<Figure[]> {
  const executable: PrivateMemory[] = [];
  const bundle: PrivateMemory[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    progress(`memory of ${daemon.name}, ${round} of ${ROUNDS}`);
    executable.push(await idleMemory(daemon, commands.executable));
    bundle.push(await idleMemory(daemon, commands.bundle));
  }
  const figure = (kind: string, kibOf: (memory: PrivateMemory) => number): Figure => {
    const peer = median(bundle.map(kibOf));
    const compared = { ...summary(executable.map(kibOf)), peer, peerName: "bundle under node" };
    return { name: `packages.${daemon.name}_idle_${kind}_kib`, unit: "KiB", ...compared };
  };
  return [figure("private", ({ kib }) => kib), figure("private_dirty", ({ dirtyKib }) => dirtyKib)];
}

async function idleMemory(daemon: Daemon, command: string[]): Promise<PrivateMemory> {
  const directory = await createTemporaryDirectory();
  try {
    const { args, socketPath } = await daemon.prepare(directory);
    await using server = await LocalServer.start([...command, ...args], socketPath);
    return await settledPrivateMemory(server.pid);
  } finally {
    await removeTemporaryDirectory(directory);
  }
}
