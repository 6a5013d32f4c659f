/** Root may connect to a socket whose rights are still to be set, so a client can be there before anybody waits for one. */
import { pbkdf2 } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { unixSocketSource } from "../../../agent/channel/unix-listener.ts";

const derive = promisify(pbkdf2);

/** Settles when it is connected, which it tries as often as it can. */
async function connectAtOnce(path: string): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, "connect");
      return socket;
    } catch {
      await nextTurn();
    }
  }
}

/** Node's threads, which also set a file's rights, have other work for a while. */
function keepThreadsBusy(): Promise<unknown> {
  return Promise.all(Array.from({ length: 8 }, () => derive("password", "salt", 200_000, 64, "sha512")));
}

test("a client that comes before the socket has its rights is served", async () => {
  const directory = await mkdtemp(join(tmpdir(), "vmm-listener-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const path = join(directory, "channel");
  const busy = keepThreadsBusy();
  const coming = connectAtOnce(path);
  for await (const channel of unixSocketSource(path).arrivals(new AbortController().signal)) {
    (await coming).end("hello");
    expect(await text(channel.incoming)).toBe("hello");
    break;
  }
  await busy;
});
