/**
 * Loaded into an agent's process before the agent: whenever the agent puts a file in the place of its cache, the file is
 * linked into a folder, so that every state that ever was in its place stays to be looked at. It can also kill the process
 * at that very moment, and stand for the machine's UUID and boot.
 */
import fs from "node:fs";
import { basename, join } from "node:path";
import type { DeathOrder, MachineIdentity } from "./recorded-agent.ts";

const directory = process.env["RECORDER_DIRECTORY"] ?? "";
const cachePath = join(process.env["RECORDER_STATE"] ?? "", "cache.json");
const orderPath = join(directory, "die.json");
const states = join(directory, "states");

const { renameSync, readFileSync } = fs;

function keepState(): void {
  if (!fs.existsSync(cachePath)) return;
  const number = fs.readdirSync(states).length;
  fs.linkSync(cachePath, join(states, String(number).padStart(6, "0")));
}

function dieIfOrdered(path: string, moment: DeathOrder["moment"]): void {
  if (!fs.existsSync(orderPath)) return;
  const order = JSON.parse(readFileSync(orderPath, "utf8")) as DeathOrder;
  if (order.file !== basename(path) || order.moment !== moment) return;
  fs.unlinkSync(orderPath);
  process.kill(process.pid, "SIGKILL");
}

function identity(): MachineIdentity {
  return JSON.parse(readFileSync(join(directory, "machine.json"), "utf8")) as MachineIdentity;
}

const replaced: typeof fs.renameSync = (from, to) => {
  dieIfOrdered(String(to), "before");
  renameSync(from, to);
  if (to === cachePath) keepState();
  dieIfOrdered(String(to), "after");
};

const read = (...args: Parameters<typeof fs.readFileSync>) => {
  if (args[0] === "/sys/class/dmi/id/product_uuid") return `${identity().uuid}\n`;
  if (args[0] === "/proc/sys/kernel/random/boot_id") return `${identity().bootId}\n`;
  return readFileSync(...args);
};

// What an agent left that was killed between the replacement and the link.
keepState();
Object.assign(fs, { renameSync: replaced, readFileSync: read });
