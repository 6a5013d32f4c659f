/** The DNS guide, as it is written, with a real BIND, QEMU, manager and agent. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
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
