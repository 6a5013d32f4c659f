/**
 * Saves the image of a disk, and is killed in the middle of it. By then it has stopped the program that copies the disk,
 * so that this does not end by itself, and has printed its number.
 */
import { readFileSync } from "node:fs";
import { ImageSaver } from "../../../../manager/images/image-saver.ts";
import { openStore } from "../../../../manager/store/open-store.ts";

const [state = "", directory = "", disk = ""] = process.argv.slice(2);

const log = { info: () => undefined, warn: console.error, error: console.error };
const vm = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web1", host: "h", channelPath: undefined };
const known = { vm: { ...vm, status: "Stopped" as const }, inventory: "libvirt qemu:///system" };
const saver = await ImageSaver.open({
  store: await openStore({ directory: state, log, onFailure: console.error }),
  mailer: { send: () => Promise.resolve(), isConfigured: true },
  log,
  directories: () => [directory],
  vmOf: () => known,
  disksOf: () => Promise.resolve([{ name: "vda", path: disk, format: "raw" }]),
  failed: console.error,
});
const request = { directory, format: "qcow2", authorEmail: "author@example.com" } as const;
const { id } = await saver.save(request, "alice", known);
saver.onChange(id, () => {
  if ((saver.show(id)?.progress ?? 0) === 0) return;
  const child = Number(readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").split(" ")[0]);
  process.kill(child, "SIGSTOP");
  console.log(child);
  process.kill(process.pid, "SIGKILL");
});
