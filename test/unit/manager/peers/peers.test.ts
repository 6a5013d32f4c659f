import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseConfig } from "../../../../manager/config.ts";
import { Peers, type PeersOptions } from "../../../../manager/peers/peers.ts";
import { jsonLog } from "../../../../shared/log.ts";
import { web1 } from "../store/tables.ts";
import { FakeVms } from "./hosts.ts";
import { MemoryBroker, newPeer } from "./memory-broker.ts";

/** Of a manager without VMs, of which nothing is asked. */
function options(keyFile = "/nowhere/peers.key"): PeersOptions {
  const config = parseConfig({ peers: { url: "amqp://127.0.0.1:1", keyFile } }, "the test").peers;
  if (config === undefined) throw new Error("the test's configuration has no peers");
  return {
    config,
    host: "kvm1",
    local: {} as PeersOptions["local"],
    vms: {} as PeersOptions["vms"],
    localVms: new FakeVms(),
    store: {} as PeersOptions["store"],
    accounts: { rightsOf: () => undefined },
    audit: { recordAll: () => Promise.resolve() },
    expireAfterMs: () => 1_000,
    log: jsonLog(undefined),
    failed: (error) => {
      throw error;
    },
  };
}

test("files that do not serve are said when they are read, and what becomes of them then does not matter", async () => {
  const directory = mkdtempSync(join(tmpdir(), "peers-"));
  onTestFinished(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  const keyFile = join(directory, "peers.key");
  expect(() => Peers.prepare(options(keyFile))).toThrow("does not exist");
  writeFileSync(keyFile, randomBytes(32).toString("hex"), { mode: 0o600 });
  const start = Peers.prepare(options(keyFile));
  rmSync(keyFile);
  const peers = start();
  expect(peers.health()).toMatchObject({ state: "disconnected", managers: [] });
  await peers.close();
});

test("a good-bye ends who says it, and one that somebody says again ends nobody", () => {
  const transport = new MemoryBroker().join(newPeer("kvm1"));
  const peers = new Peers(options(), transport, "the broker");
  onTestFinished(() => peers.close());
  transport.start(peers);
  const kvm2 = newPeer("kvm2");
  peers.received({ type: "announce", revision: 1, vms: [web1], wants: false }, kvm2, 1_000);
  peers.received({ type: "bye" }, kvm2, 999);
  expect(peers.health().managers).toEqual([{ ...kvm2, vms: 1 }]);
  peers.received({ type: "bye" }, kvm2, 1_001);
  expect(peers.health().managers).toEqual([]);
});
