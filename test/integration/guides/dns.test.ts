/** The DNS guide, as it is written, with a real BIND, QEMU, manager and agent. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { BindUnderTest } from "../support/bind.ts";
import { linksOf, play } from "./guide.ts";
import { GuideLab } from "./lab.ts";

test("the zone follows the VM as the guide shows it", { timeout: 180_000 }, async () => {
  await using bind = await BindUnderTest.make("vms.example.com");
  await using lab = await GuideLab.open({
    replacements: [
      ["127.0.0.1:53", bind.address],
      ["127.0.0.1#53", `127.0.0.1#${bind.port}`],
    ],
    wrappers: { dig: `exec dig -p ${bind.port} +time=2 +tries=1 "$@"` },
    standIns: { systemctl: (here, [action]) => systemctl(bind, action, here.path("/etc/bind/named.conf.local")) },
  });
  await play("dns.md", lab);

  // What the guide says of a manager that was away.
  await lab.manager.kill("SIGKILL");
  await lab.type("host# ", "virsh destroy web1");
  expect(await bind.dig("web1")).toEqual(["192.0.2.13"]);
  await lab.manager.start();
  await vi.waitUntil(async () => (await bind.dig("web1")).length === 0, { timeout: 30_000, interval: 100 });
});

test("the guide leads to files that are there", () => {
  expect(linksOf("dns.md").filter((path) => !existsSync(path))).toEqual([]);
});

async function systemctl(bind: BindUnderTest, action: string | undefined, statements: string): Promise<string> {
  if (action === "stop") {
    await bind.kill();
    return "";
  }
  await bind.configure(await readFile(statements, "utf8"));
  await bind.restart();
  return "";
}
