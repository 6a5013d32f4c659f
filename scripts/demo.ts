/**
 * `npm run demo`: boots a real virtual machine and plays Oracle's transcript live, in both directions. Where no QEMU can be
 * had it says so and joins agent and host over a Unix socket instead.
 */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { startGuest } from "../test/vm/harness/guest.ts";
import { buildBundles } from "./build.ts";
import { ensureGuestTools } from "./guest-tools.ts";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
const run = promisify(execFile);

/** How long the stand-in agent may take to listen. */
const AGENT_START_MS = 10_000;

/** Where the agent runs, and how to run commands on both sides of the channel. */
interface Stage extends AsyncDisposable {
  channelPath: string;
  inGuest(args: string[]): Promise<string>;
}

async function main(): Promise<void> {
  await buildBundles({ outDir: dist });
  await using stage = await setStage();
  const host = (...args: string[]): Promise<string> => {
    return run(process.execPath, [
      join(dist, "vmmessage.js"),
      "--socket",
      stage.channelPath,
      "-v",
      "ol6u3apitest",
      ...args,
    ]).then(({ stdout }) => stdout);
  };
  const onHost = (...args: string[]) => show("host", ["vmmessage", "-v", "ol6u3apitest", ...args], () => host(...args));
  const inGuest = (...args: string[]) => show("guest", ["agent", ...args], () => stage.inGuest(args));
  await onHost("-k", "foo", "-V", "bar");
  await inGuest("-p", "mykey=myvalue");
  await inGuest("-l");
  await inGuest("-g", "mykey");
  await inGuest("-r", "mykey");
  await inGuest("-l");
  await inGuest("-p", "newkey=newvalue");
  await inGuest("-l");
  await onHost("-q", "newkey");
}

async function show(side: string, words: string[], command: () => Promise<string>): Promise<void> {
  console.log(`${side}# ${words.join(" ")}`);
  const answer = await command();
  console.log(answer);
}

async function setStage(): Promise<Stage> {
  try {
    await ensureGuestTools(console.error);
  } catch (error) {
    console.error(`demo: there is no QEMU to be had here: ${(error as Error).message}`);
    console.error("demo: agent and host are joined over a Unix socket instead of a virtio-serial port");
    return unixSocketStage();
  }
  console.error("demo: booting a virtual machine, with a virtio-serial port and no network ...");
  const guest = await startGuest({ agent: [], log: console.error });
  return {
    channelPath: guest.channelPath,
    inGuest: async (args) => (await guest.exec(["agent", ...args])).stdout,
    [Symbol.asyncDispose]: () => guest.stop(),
  };
}

async function unixSocketStage(): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), "vmmessage-demo-"));
  const channelPath = join(directory, "channel");
  const places = [`--run-dir=${join(directory, "run")}`, `--state-dir=${join(directory, "state")}`];
  const program = join(dist, "agent.js");
  const agent = spawn(process.execPath, [program, "run", `--channel=unix:${channelPath}`, "--debug=0", ...places]);
  const inGuest = (args: string[]): Promise<string> => {
    return run(process.execPath, [program, ...places, ...args]).then(({ stdout }) => stdout);
  };
  const deadline = performance.now() + AGENT_START_MS;
  while (
    !(await inGuest(["-l"]).then(
      () => true,
      () => false,
    )) &&
    performance.now() < deadline
  )
    await sleep(100);
  return {
    channelPath,
    inGuest,
    [Symbol.asyncDispose]: async () => {
      agent.kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

await main();
