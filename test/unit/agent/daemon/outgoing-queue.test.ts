import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { OutgoingQueue, type QueuedMessage } from "../../../../agent/daemon/outgoing-queue.ts";
import { MAX_QUEUED_MESSAGES } from "../../../../shared/protocol/limits.ts";

const directories: string[] = [];

afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

/** A queue whose directory can be taken away, which to it is a disk that refuses. */
async function openQueue() {
  const directory = mkdtempSync(join(tmpdir(), "vmm-queue-"));
  directories.push(directory);
  const path = join(directory, "state", "queue.json");
  const state = dirname(path);
  return {
    queue: await OutgoingQueue.open(path),
    path,
    refuse: async () => {
      await rename(state, `${state}.away`);
      await writeFile(state, "");
    },
    accept: async () => {
      rmSync(state);
      await rename(`${state}.away`, state);
      chmodSync(state, 0o700);
    },
  };
}

function report(messageId: string): QueuedMessage {
  return { method: "report", params: { messageId, name: "bootstrap.ended", data: {} } };
}

const idsOf = (queue: OutgoingQueue) => queue.messages.map(({ params }) => params.messageId);

describe("a message for the host, when the disk refuses it", () => {
  test("is refused, and nothing is queued", async () => {
    const { queue, refuse } = await openQueue();
    await refuse();
    await expect(queue.add(report("a"))).rejects.toMatchObject({ code: "failed" });
    expect(idsOf(queue)).toEqual([]);
  });

  test("is kept in memory when it may be, behind those on disk, and the listener hears of it", async () => {
    const { queue, path, refuse } = await openQueue();
    let heard = 0;
    queue.onCommitted(() => (heard += 1));
    expect(await queue.addAnyhow(report("a"))).toBe("durable");
    await refuse();
    expect(await queue.addAnyhow(report("b"))).toBe("volatile");
    expect(await queue.addAnyhow(report("b"))).toBe("volatile");
    expect(idsOf(queue)).toEqual(["a", "b"]);
    expect(heard).toBeGreaterThanOrEqual(2);
    await queue.remove("b");
    expect(idsOf(queue)).toEqual(["a"]);
    expect(await readFile(`${dirname(path)}.away/queue.json`, "utf8")).toContain('"a"');
  });

  test("has a limit in memory too", async () => {
    const { queue, refuse } = await openQueue();
    await refuse();
    for (let n = 0; n < MAX_QUEUED_MESSAGES; n += 1) await queue.addAnyhow(report(String(n)));
    await expect(queue.addAnyhow(report("more"))).rejects.toMatchObject({ code: "over-limit" });
  });
});

describe("a message that a host has taken, when the disk refuses to forget it", () => {
  test("is not handed over again, and goes with the next change that can be written", async () => {
    const { queue, path, refuse, accept } = await openQueue();
    await queue.add(report("a"));
    await queue.add(report("b"));
    await refuse();
    await expect(queue.remove("a")).rejects.toMatchObject({ code: "failed" });
    expect(idsOf(queue)).toEqual(["b"]);
    await accept();
    await queue.add(report("c"));
    expect(idsOf(queue)).toEqual(["b", "c"]);
    expect(await readFile(path, "utf8")).not.toContain('"a"');
  });

  test("comes again from a queue that is opened anew", async () => {
    const { queue, path, refuse, accept } = await openQueue();
    await queue.add(report("a"));
    await refuse();
    await expect(queue.remove("a")).rejects.toThrow("nothing was queued");
    await accept();
    expect(idsOf(await OutgoingQueue.open(path))).toEqual(["a"]);
  });
});

test("a queue's directory is made when it is not there", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vmm-queue-"));
  directories.push(directory);
  await mkdir(join(directory, "x"));
  const queue = await OutgoingQueue.open(join(directory, "x", "y", "queue.json"));
  await queue.add(report("a"));
  expect(idsOf(queue)).toEqual(["a"]);
});
