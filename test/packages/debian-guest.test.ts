// The guest's package in a real guest: a clean Debian with systemd, in which nothing of ours was before.
import { execFile } from "node:child_process";
import { link, mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot, readRelease } from "../../packaging/release.ts";
import { startDebianGuest } from "../vm/debian/guest.ts";
import { agentIsUp, propertyOf, stateOf, systemIsUp, untilState } from "../vm/debian/systemd.ts";
import type { Guest } from "../vm/harness/guest.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";
import { laterDeb } from "./later-deb.ts";

const release = await readRelease({});
const agentDeb = join(projectRoot, "build", "packages", `vmmessage-agent_${release.packageVersion}_amd64.deb`);
const compatDeb = join(projectRoot, "build", "packages", `vmmessage-ovmd-compat_${release.packageVersion}_all.deb`);
const vmmessageExecutable = join(projectRoot, "build", "executables", "vmmessage");
const agentUnit = "vmmessage-agent.service";
const packages = "/mnt/packages";

/** An emulated processor unpacks a hundred megabytes. */
const installing = { timeoutMs: 240_000, pollMs: 500 };

/** What Debian writes down for itself, and what changes in a running machine whoever does what. */
const notOurs = [
  "/proc",
  "/sys",
  "/dev",
  "/run",
  "/tmp",
  "/mnt",
  "/var/lib/dpkg",
  "/var/lib/apt",
  "/var/cache",
  "/var/log",
];

const greet = `#!/usr/bin/python3
### BEGIN PLUGIN INFO
# name: greet
# configure: 80
# description: a greeting
### END PLUGIN INFO
import json
from templateconfig.cli import main

def do_enumerate(target):
    return json.dumps([{'key': 'com.example.greeting', 'description': 'The greeting', 'required': True}])

def do_configure(param):
    param = json.loads(param)
    with open('/etc/greeting', 'w') as greeting:
        greeting.write(param['com.example.greeting'] + '\\n')
    return json.dumps(param)

if __name__ == '__main__':
    main(do_enumerate, {'configure': do_configure})
`;

let directory: string;
let guest: Guest;
let filesBefore: string;

beforeAll(async () => {
  directory = await createTemporaryDirectory();
  const disk = join(directory, "disk");
  await mkdir(disk);
  for (const path of [agentDeb, compatDeb]) await link(path, join(disk, basename(path)));
  await laterDeb(agentDeb, join(disk, "later.deb"));
  guest = await startDebianGuest({ isClean: true, bundleDir: disk, waitsForBoot: false });
  await guest.ready();
  await systemIsUp(guest);
  await guest.shell(`mkdir ${packages}`);
  await moveDisk();
  await guest.shell("rmdir /usr/lib/vmmessage");
  filesBefore = await allFiles();
});

afterAll(async () => {
  await guest.stop();
  await removeTemporaryDirectory(directory);
});

/** At each boot the disk comes to lie where the package's files are. */
async function moveDisk(): Promise<void> {
  await guest.shell(`umount /usr/lib/vmmessage && mount -r /dev/vdb ${packages}`);
}

function allFiles(): Promise<string> {
  const pruned = notOurs.map((path) => `-path ${path}`).join(" -o ");
  return guest.shell(`find / -xdev \\( ${pruned} \\) -prune -o -print | sort`);
}

/** As its user would type it, with the package's path. */
async function apt(...words: string[]): Promise<void> {
  await guest.shell(`DEBIAN_FRONTEND=noninteractive apt-get -y -q ${words.join(" ")}`, installing);
}

async function vmmessage(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(vmmessageExecutable, [
    "--socket",
    guest.channelPath,
    "-v",
    "web1",
    ...args,
  ]);
  return stdout;
}

/** Each test goes on where the one before it ended: it is one machine's life. */
describe("a clean Debian guest", () => {
  test("installs the package without a network, and its agent runs because the port is there", async () => {
    await apt("install", `${packages}/${basename(agentDeb)}`);
    await untilState(guest, agentUnit, "active");
    await agentIsUp(guest);
    expect(await propertyOf(guest, agentUnit, "SubState")).toBe("running");
    expect(await guest.shell("readlink -f /usr/bin/agent")).toBe("/usr/bin/vmmessage-agent");
    expect(await stateOf(guest, "vmmessage-bootstrap.service")).toBe("inactive");
    expect(await systemIsUp(guest)).toEqual({ state: "running", failedUnits: [] });
  });

  test("plays the transcript of ovm_vmmessage with the host's executable, line for line", async () => {
    const opening = [`vmmessage ${release.version}.`, "Connected.", "VM : 'web1' has status :  Running."];
    const sent = await vmmessage("-k", "foo", "-V", "bar");
    expect(sent.split("\n")).toEqual([...opening, "Sending message.", "Message sent successfully.", ""]);
    expect(await guest.shell("agent -l")).toBe('{"foo":"bar"}');
    await guest.shell("agent -p mykey=myvalue");
    expect(await guest.shell("agent -l")).toBe('{"foo":"bar"}\n{"mykey":"myvalue"}');
    expect(await guest.shell("agent -g mykey; cat /run/vmmessage/keys/foo")).toBe("myvalue\nbar");
    const queried = await vmmessage("-q", "mykey");
    expect(queried.split("\n")).toEqual([
      ...opening,
      "Querying for key 'mykey'.",
      "Query successful.",
      "Query for Key : 'mykey' returned value 'myvalue'.",
      expect.stringMatching(/^Key set \d+ (second|minute)s? ago\.$/),
      "",
    ]);
    await guest.shell("agent -r mykey");
    expect(await guest.shell("agent -l")).toBe('{"foo":"bar"}');
  });

  test("answers under the names of Oracle VM once their package is there", async () => {
    await apt("install", `${packages}/${basename(compatDeb)}`);
    expect(await guest.shell("ovmd -l; ovmd -g foo; ovmd --version")).toContain('{"foo":"bar"}\nbar\n');
    expect(await guest.shell("ovm-template-config --enumerate configure")).toContain("com.oracle.linux.root-password");
    expect(await guest.shell("systemctl is-active ovmd.service")).toBe("active");
  });

  test("runs modules written for Oracle VM with the Python package that comes along", async () => {
    await guest.writeFile("/etc/template.d/scripts/greet", greet);
    await guest.shell("chmod 755 /etc/template.d/scripts/greet");
    await guest.shell("agent config enable greet configure");
    await guest.shell("agent -p com.example.greeting=hello; agent -l | agent config configure --module greet --stdin");
    expect(await guest.readText("/etc/greeting")).toBe("hello\n");
    await guest.shell("rm /etc/template.d/scripts/greet /etc/greeting");
  });

  test("keeps its keys and secrets when the package is upgraded, and runs the new version", async () => {
    await vmmessage("-k", "password", "-V", "hush", "--secret");
    const pid = await propertyOf(guest, agentUnit, "MainPID");
    await apt("install", `${packages}/later.deb`);
    await agentIsUp(guest);
    expect(await propertyOf(guest, agentUnit, "MainPID")).not.toBe(pid);
    expect(await guest.shell("dpkg-query --show --showformat '${Version}' vmmessage-agent")).toBe("9999");
    expect(await guest.shell("agent -g foo; agent -g password")).toBe("bar\nhush");
  });

  test("has it again after a boot", async () => {
    await guest.reboot();
    await agentIsUp(guest);
    expect(await guest.shell("agent -g foo")).toBe("bar");
    expect(await stateOf(guest, agentUnit)).toBe("active");
    await moveDisk();
  });

  test("stops the agent when the packages are removed, and keeps its data for another time", async () => {
    await apt("remove", "vmmessage-agent");
    expect(await stateOf(guest, agentUnit)).not.toBe("active");
    expect(
      await guest.shell("ls /usr/bin/agent /usr/bin/vmmessage-agent 2>/dev/null; pgrep -f '[v]mmessage-agent run'; :"),
    ).toBe("");
    expect(await guest.shell("ls /var/lib/vmmessage")).toContain("cache.json");
    await apt("install", `${packages}/${basename(agentDeb)}`);
    await agentIsUp(guest);
    expect(await guest.shell("agent -g foo")).toBe("bar");
  });

  test("has nothing left of it when the package is purged", async () => {
    await apt("purge", "vmmessage-agent");
    const left = (await allFiles()).split("\n").filter((path) => !filesBefore.split("\n").includes(path));
    expect(left).toEqual([]);
    expect(await guest.shell("ls -d /run/vmmessage 2>/dev/null; :")).toBe("");
    expect(await guest.shell("systemctl list-unit-files --no-legend 'vmmessage*' 'ovmd*'; :")).toBe("");
  });
});
